/* Time since the start, from what the hypervisor keeps in the shared info page (xen.h: struct
 * vcpu_time_info): system_time nanoseconds at tsc_timestamp, and the pace of the TSC since. */
#include "xen.h"

struct time_info {
    u32 version; /* odd while it is written */
    u32 pad;
    u64 tsc_timestamp, system_time;
    u32 tsc_to_system_mul;
    signed char tsc_shift;
};

static u64 started;

static u64 system_ns(void)
{
    volatile const struct time_info *info = shared_time();
    u32 version;
    u64 ns;
    do {
        version = info->version;
        memory_barrier();
        u64 ticks = __builtin_ia32_rdtsc() - info->tsc_timestamp;
        signed char shift = info->tsc_shift;
        ticks = shift < 0 ? ticks >> -shift : ticks << shift;
        ns = info->system_time + (u64)((unsigned __int128)ticks * info->tsc_to_system_mul >> 32);
        memory_barrier();
    } while (version & 1 || version != info->version);
    return ns;
}

void clock_init(void)
{
    started = system_ns();
}

u64 uptime_ns(void)
{
    return system_ns() - started;
}
