/* Writing to the paravirtual console. xenconsoled empties the ring on the other side. */
#include "xen.h"

static struct console_ring *ring;
static u32 port;

void console_init(struct start_info *si)
{
    ring = console_page(si);
    port = si->console_evtchn;
}

static void put(char c)
{
    while (ring->out_prod - ring->out_cons >= sizeof ring->out) {
        event_notify(port);
        event_wait(port);
        event_clear(port);
    }
    ring->out[ring->out_prod % sizeof ring->out] = c;
    memory_barrier();
    ring->out_prod++;
}

void print(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
    memory_barrier();
    event_notify(port);
}

void print_until_space(const char *text)
{
    for (; *text && *text != ' '; text++)
        put(*text);
    memory_barrier();
    event_notify(port);
}
