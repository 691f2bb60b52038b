/* The paravirtual console, both ways. xenconsoled empties `out` and fills `in` on the other side;
 * it looks when it is notified, which a flush does. */
#include "xen.h"

static struct console_ring *ring;
static u32 port;

u32 console_init(struct start_info *si)
{
    ring = console_page(si);
    port = si->console_evtchn;
    return port;
}

void console_flush(void)
{
    memory_barrier();
    event_notify(port);
}

static void put(char c)
{
    while (!ring_room(ring->out_prod, ring->out_cons, sizeof ring->out)) {
        console_flush();
        event_wait(&port, 1);
        event_clear(port); /* before the room is looked at again */
    }
    memory_barrier(); /* the byte that stood here was read before out_cons said so */
    ring->out[ring->out_prod % sizeof ring->out] = c;
    memory_barrier();
    ring->out_prod++;
}

void print_bytes(const char *text, u32 count)
{
    for (; count--; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

void print(const char *text)
{
    print_bytes(text, text_length(text));
}

u32 console_read(char *typed, u32 most)
{
    u32 cons = ring->in_cons;
    u32 count = ring_used(ring->in_prod, cons, sizeof ring->in);
    if (count > most)
        count = most;
    memory_barrier(); /* in_prod before the bytes it speaks of */
    for (u32 n = 0; n < count; n++)
        typed[n] = ring->in[(cons + n) % sizeof ring->in];
    memory_barrier();
    ring->in_cons = cons + count;
    return count;
}
