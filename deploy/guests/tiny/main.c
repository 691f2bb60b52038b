/* tiny: the smallest paravirtualised guest of use to a fleet. It says on its console who it is,
 * from `name=` and `index=` on its command line, and then sleeps, until something is typed on its
 * console, which it answers, or until the tool stack asks it to end (control/shutdown in
 * xenstore). It has no device drivers: its disk and network are the host's matter alone. */
#include "xen.h"

#define SHUTDOWN_PATH "control/shutdown"

static struct terminal terminal;

static void end(enum wish wish)
{
    print("megafleet: stopping ");
    print_identity(terminal.command_line);
    print("\n");
    console_flush();
    domain_shutdown(wish == WISH_REBOOT ? SHUTDOWN_REBOOT : SHUTDOWN_POWEROFF);
}

/* Whether there was something to do: more may have come meanwhile. */
static int serve_console(void)
{
    char typed[64];
    u32 count = console_read(typed, sizeof typed);
    for (u32 n = 0; n < count; n++) {
        enum wish wish = terminal_typed(&terminal, typed[n]);
        if (wish != WISH_NONE)
            end(wish);
    }
    if (count)
        console_flush(); /* xenconsoled hears of the echo, and of the room for more input */
    return count != 0;
}

static int serve_xenstore(void)
{
    if (!xenstore_event())
        return 0;
    const char *asked = xenstore_read(SHUTDOWN_PATH);
    if (*asked) {
        enum wish wish = *asked == 'r' ? WISH_REBOOT : WISH_HALT;
        xenstore_write(SHUTDOWN_PATH, ""); /* the acknowledgement that the tool stack awaits */
        end(wish);
    }
    return 1;
}

void guest_main(struct start_info *si)
{
    u32 ports[] = {console_init(si), xenstore_init(si)};
    terminal.command_line = si->cmd_line;
    if (map_shared_info(si)) {
        print("megafleet: cannot map the shared info page; stopping\n");
        end(WISH_HALT);
    }
    clock_init();
    xenstore_watch(SHUTDOWN_PATH);
    print("megafleet: ready ");
    print_identity(si->cmd_line);
    print("\n");
    console_flush();
    for (;;) {
        /* Forgotten before the rings are looked at, so that whatever comes after a look ends the
         * sleep at once. What was forgotten while one ring waited for room, or for an answer, is
         * found by looking: nobody sleeps unless both were seen to be empty after this. */
        event_clear(ports[0]);
        event_clear(ports[1]);
        int busy = serve_console();
        busy |= serve_xenstore();
        if (!busy)
            event_wait(ports, 2);
    }
}
