/* Requests to xenstore, one at a time. Watch events that come while an answer is awaited are
 * remembered as one: the reader looks at the path anew anyway. */
#include "xen.h"

static struct xenstore_ring *ring;
static u32 port;
static int event_seen;
static char payload[XENSTORE_PAYLOAD_MAX + 1];

u32 xenstore_init(struct start_info *si)
{
    ring = xenstore_page(si);
    port = si->store_evtchn;
    return port;
}

static void send(const void *bytes, u32 count)
{
    const char *next = bytes;
    while (count--) {
        while (!ring_room(ring->req_prod, ring->req_cons, sizeof ring->req)) {
            event_notify(port);
            event_wait(&port, 1);
            event_clear(port);
        }
        memory_barrier();
        ring->req[ring->req_prod % sizeof ring->req] = *next++;
        memory_barrier();
        ring->req_prod++;
    }
}

static int has_come(void)
{
    return ring_used(ring->rsp_prod, ring->rsp_cons, sizeof ring->rsp) != 0;
}

static void receive(void *bytes, u32 count)
{
    char *next = bytes;
    while (count--) {
        while (!has_come()) {
            event_clear(port);
            /* Looked at again after the clear: a byte may have come in between. */
            if (has_come())
                break;
            event_notify(port); /* the answer may wait for the room that was just made */
            event_wait(&port, 1);
        }
        memory_barrier();
        *next++ = ring->rsp[ring->rsp_cons % sizeof ring->rsp];
        memory_barrier();
        ring->rsp_cons++;
    }
}

static u32 receive_message(void)
{
    struct xenstore_message head;
    receive(&head, sizeof head);
    u32 size = head.len > XENSTORE_PAYLOAD_MAX ? XENSTORE_PAYLOAD_MAX : head.len;
    receive(payload, size);
    payload[size] = 0;
    event_notify(port);
    return head.type;
}

/* The first string goes with its final NUL; so does a token, but a value goes without. */
static u32 request(u32 type, const char *path, const char *second, u32 second_length)
{
    u32 path_length = text_length(path) + 1;
    struct xenstore_message head = {type, 0, 0, path_length + second_length};
    send(&head, sizeof head);
    send(path, path_length);
    send(second, second_length);
    event_notify(port);
    for (;;) {
        u32 answer = receive_message();
        if (answer != XS_WATCH_EVENT)
            return answer;
        event_seen = 1;
    }
}

void xenstore_watch(const char *path)
{
    request(XS_WATCH, path, "tiny", sizeof "tiny");
}

int xenstore_event(void)
{
    while (!event_seen && has_come())
        event_seen = receive_message() == XS_WATCH_EVENT;
    int seen = event_seen;
    event_seen = 0;
    return seen;
}

const char *xenstore_read(const char *path)
{
    return request(XS_READ, path, "", 0) == XS_READ ? payload : "";
}

void xenstore_write(const char *path, const char *value)
{
    request(XS_WRITE, path, value, text_length(value));
}
