/* Hypercalls: event channels, waiting, and the end of the domain. */
#include "xen.h"

#define HYPERVISOR_update_va_mapping 14
#define HYPERVISOR_sched_op 29
#define HYPERVISOR_event_channel_op 32
#define UVMF_INVLPG 2UL
#define SCHEDOP_shutdown 2
#define SCHEDOP_poll 3
#define EVTCHNOP_send 4
/* shared_info: 32 vcpu_info of 64 bytes come before the pending bits; the second half of a
 * vcpu_info is its time. */
#define VCPU_TIME_OFFSET 32
#define EVTCHN_PENDING_OFFSET 2048

static u8 shared_info[PAGE_SIZE] __attribute__((aligned(4096)));

/* Each stub in the hypercall page is 32 bytes long; arguments go in rdi, rsi, rdx. */
#define HYPERCALL(name)                                                             \
    static long name(u64 a, u64 b, u64 c)                                           \
    {                                                                               \
        long result;                                                                \
        asm volatile("call hypercall_page + (%c[nr] * 32)"                          \
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c)                      \
                     : [nr] "i"(HYPERVISOR_##name)                                  \
                     : "memory", "rcx", "r8", "r9", "r10", "r11");                  \
        return result;                                                              \
    }
HYPERCALL(update_va_mapping)
HYPERCALL(sched_op)
HYPERCALL(event_channel_op)

int map_shared_info(struct start_info *si)
{
    u64 entry = si->shared_info | PTE_PRESENT_WRITABLE_USER;
    return (int)update_va_mapping((u64)shared_info, entry, UVMF_INVLPG);
}

const void *shared_time(void)
{
    return shared_info + VCPU_TIME_OFFSET;
}

void event_notify(u32 port)
{
    event_channel_op(EVTCHNOP_send, (u64)&port, 0);
}

void event_clear(u32 port)
{
    u64 *pending = (u64 *)(shared_info + EVTCHN_PENDING_OFFSET);
    __sync_fetch_and_and(&pending[port / 64], ~(1UL << (port % 64)));
}

/* Xen looks at the pending bits after it has marked the vcpu as blocked, so that no event between
 * the caller's last look and the sleep is lost. The ports stay unmasked: Xen wakes a poller only
 * when a bit changes, which is why they are cleared before the rings are looked at. */
void event_wait(const u32 *ports, u32 count)
{
    struct {
        const u32 *ports;
        u32 nr_ports;
        u64 timeout; /* 0: none */
    } poll = {ports, count, 0};
    sched_op(SCHEDOP_poll, (u64)&poll, 0);
}

void domain_shutdown(u32 reason)
{
    for (;;)
        sched_op(SCHEDOP_shutdown, (u64)&reason, 0);
}
