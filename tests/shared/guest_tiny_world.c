/* What tiny sees of the world, on the host and in place of its event.c: event channels as Xen has
 * them, xenconsoled, xenstored and a tool stack. Each acts at moments drawn from a seed; xenconsoled
 * and xenstored look at a ring only when they were notified. What tiny says goes to stdout.
 *
 * guest_tiny_world SEED COMMAND_LINE WISH <typed: WISH is written to control/shutdown at some
 * moment, unless it is empty. Ends when tiny would sleep for ever (and has left nothing undone), or
 * shuts itself down; says so on stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xen.h"

enum { STORE = 1, CONSOLE = 2, PORTS = 3, MOST_WAITS = 100000 };

void guest_main(struct start_info *si);

static char pages[3 * PAGE_SIZE] __attribute__((aligned(4096)));
static struct start_info *const start = (struct start_info *)pages;
static int pending[PORTS], notified[PORTS];

static char typed[1 << 16];
static u32 typed_length, typed_given, room_seen;

static char asked[1 << 16], answers[1 << 16];
static u32 asked_length, answers_length, answers_given;
static char shutdown_node[4096];
static const char *wish;
static int watched;

static struct { /* struct vcpu_time_info: the TSC counts for nothing here */
    u32 version, pad;
    u64 tsc_timestamp, system_time;
    u32 tsc_to_system_mul;
    signed char tsc_shift;
} now = {.system_time = 5000000000};

static _Noreturn void finish(const char *how, int status)
{
    fflush(stdout);
    fprintf(stderr, "%s\n", how);
    exit(status);
}

static u32 up_to(u32 most)
{
    return most ? (u32)rand() % (most + 1) : 0;
}

static void xenconsoled(void)
{
    struct console_ring *ring = console_page(start);
    if (notified[CONSOLE]) {
        notified[CONSOLE] = 0;
        for (; ring->out_cons != ring->out_prod; ring->out_cons++) {
            putchar(ring->out[ring->out_cons % sizeof ring->out]);
            pending[CONSOLE] = 1;
        }
        room_seen = sizeof ring->in - (ring->in_prod - ring->in_cons);
    }
    u32 left = typed_length - typed_given;
    u32 count = up_to(left < room_seen ? left : room_seen);
    for (u32 n = 0; n < count; n++)
        ring->in[(ring->in_prod + n) % sizeof ring->in] = typed[typed_given++];
    ring->in_prod += count;
    room_seen -= count;
    if (count)
        pending[CONSOLE] = 1;
}

static void answer(u32 type, const char *value, u32 length)
{
    struct xenstore_message head = {type, 0, 0, length};
    memcpy(answers + answers_length, &head, sizeof head);
    memcpy(answers + answers_length + sizeof head, value, length);
    answers_length += sizeof head + length;
}

static void watch_fires(void)
{
    static const char event[] = "control/shutdown\0tiny";
    answer(XS_WATCH_EVENT, event, sizeof event);
}

static void obey(const struct xenstore_message *head, const char *payload)
{
    if (strcmp(payload, "control/shutdown"))
        finish("tiny asked for another path", 1);
    const char *second = payload + strlen(payload) + 1;
    if (head->type == XS_WATCH) {
        watched = 1;
        now.system_time += 12345000000;
        answer(XS_WATCH, "OK", 3);
        watch_fires();
    } else if (head->type == XS_READ) {
        answer(XS_READ, shutdown_node, strlen(shutdown_node));
    } else if (head->type == XS_WRITE) {
        u32 length = head->len - (u32)(second - payload);
        memcpy(shutdown_node, second, length);
        shutdown_node[length] = 0;
        watch_fires();
        answer(XS_WRITE, "OK", 3);
    } else {
        finish("tiny asked for what xenstored does not know", 1);
    }
}

static void hear_requests(struct xenstore_ring *ring)
{
    for (; ring->req_cons != ring->req_prod; ring->req_cons++) {
        asked[asked_length++] = ring->req[ring->req_cons % sizeof ring->req];
        pending[STORE] = 1;
    }
    struct xenstore_message head;
    while (asked_length >= sizeof head) {
        memcpy(&head, asked, sizeof head);
        u32 whole = sizeof head + head.len;
        if (asked_length < whole)
            return;
        obey(&head, asked + sizeof head);
        asked_length -= whole;
        memmove(asked, asked + whole, asked_length);
    }
}

static void xenstored(void)
{
    struct xenstore_ring *ring = xenstore_page(start);
    static u32 room = sizeof ring->rsp;
    if (notified[STORE]) {
        notified[STORE] = 0;
        hear_requests(ring);
        room = sizeof ring->rsp - (ring->rsp_prod - ring->rsp_cons);
    }
    u32 left = answers_length - answers_given;
    u32 count = up_to(left < room ? left : room);
    for (u32 n = 0; n < count; n++)
        ring->rsp[(ring->rsp_prod + n) % sizeof ring->rsp] = answers[answers_given++];
    ring->rsp_prod += count;
    room -= count;
    if (count)
        pending[STORE] = 1;
}

/* A long value keeps xenstored waiting for room in the ring. */
static void tool_stack(void)
{
    if (!*wish || !watched)
        return;
    memset(shutdown_node, 'x', sizeof shutdown_node - 1);
    memcpy(shutdown_node, wish, strlen(wish));
    wish = "";
    watch_fires();
}

static void world_acts(int all)
{
    if (all || rand() % 3 == 0)
        xenconsoled();
    if (all || rand() % 3 == 0)
        xenstored();
    if (all || rand() % 50 == 0)
        tool_stack();
}

int map_shared_info(struct start_info *si)
{
    (void)si;
    return 0;
}

const void *shared_time(void)
{
    return &now;
}

void event_notify(u32 port)
{
    notified[port] = 1;
    world_acts(0);
}

void event_clear(u32 port)
{
    world_acts(0);
    pending[port] = 0;
    world_acts(0);
}

static int undone(void)
{
    struct console_ring *console = console_page(start);
    struct xenstore_ring *store = xenstore_page(start);
    return typed_given != typed_length || console->in_cons != console->in_prod ||
           console->out_cons != console->out_prod || answers_given != answers_length ||
           store->rsp_cons != store->rsp_prod || store->req_cons != store->req_prod;
}

void event_wait(const u32 *ports, u32 count)
{
    static int waits;
    if (++waits > MOST_WAITS)
        finish("tiny spins", 1);
    for (int tries = 0; tries < 200; tries++) { /* each of which may draw a 0 */
        for (u32 n = 0; n < count; n++)
            if (pending[ports[n]])
                return;
        world_acts(1);
    }
    if (undone())
        finish("tiny sleeps, and something is left undone", 1);
    finish("asleep", 0);
}

void domain_shutdown(u32 reason)
{
    notified[CONSOLE] = 1;
    typed_length = typed_given;
    xenconsoled();
    if (*shutdown_node)
        finish("tiny did not acknowledge", 1);
    finish(reason == SHUTDOWN_REBOOT ? "reboot" : "poweroff", 0);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    srand((u32)atoi(argv[1]));
    snprintf(start->cmd_line, sizeof start->cmd_line, "%s", argv[2]);
    wish = argv[3];
    start->store_evtchn = STORE;
    start->console_evtchn = CONSOLE;
    struct console_ring *ring = console_page(start);
    room_seen = sizeof ring->in;
    /* Indices run on for as long as a guest lives: here they are about to wrap. */
    ring->in_cons = ring->in_prod = ring->out_cons = ring->out_prod = (u32)-100;
    typed_length = (u32)fread(typed, 1, sizeof typed, stdin);
    guest_main(start);
    return 1;
}
