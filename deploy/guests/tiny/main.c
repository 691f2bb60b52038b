/* tiny: the smallest paravirtualised guest of use to a fleet. It says on its console who it is,
 * from `name=` and `index=` on its command line, and then sleeps until the tool stack asks it to
 * end (control/shutdown in xenstore). It has no device drivers: its disk and network are the
 * host's matter alone. */
#include "xen.h"

#define SHUTDOWN_PATH "control/shutdown"

/* The value of `key` (given with its '='), up to the next space; "-" when it is not there. */
static const char *argument(const char *command_line, const char *key)
{
    for (const char *word = command_line; *word; word++) {
        if (word != command_line && word[-1] != ' ')
            continue;
        u32 n = 0;
        while (key[n] && word[n] == key[n])
            n++;
        if (!key[n])
            return word + n;
    }
    return "-";
}

static void print_identity(struct start_info *si)
{
    print(" name=");
    print_until_space(argument(si->cmd_line, "name="));
    print(" index=");
    print_until_space(argument(si->cmd_line, "index="));
    print("\n");
}

void guest_main(struct start_info *si)
{
    console_init(si);
    xenstore_init(si);
    if (map_shared_info(si)) {
        print("megafleet: cannot map the shared info page; stopping\n");
        domain_shutdown(SHUTDOWN_POWEROFF);
    }
    xenstore_watch(SHUTDOWN_PATH);
    print("megafleet: ready");
    print_identity(si);
    for (;;) {
        xenstore_wait_event();
        const char *wish = xenstore_read(SHUTDOWN_PATH);
        if (!*wish)
            continue;
        u32 reason = *wish == 'r' ? SHUTDOWN_REBOOT : SHUTDOWN_POWEROFF;
        print("megafleet: stopping");
        print_identity(si);
        xenstore_write(SHUTDOWN_PATH, ""); /* the acknowledgement that the tool stack awaits */
        domain_shutdown(reason);
    }
}
