/* Hypercalls: event channels, waiting, and the end of the domain. */
#include "xen.h"

#define HYPERVISOR_update_va_mapping 14
#define HYPERVISOR_sched_op 29
#define HYPERVISOR_event_channel_op 32
#define UVMF_INVLPG 2UL
#define SCHEDOP_shutdown 2
#define SCHEDOP_poll 3
#define EVTCHNOP_send 4
/* shared_info: 32 vcpu_info of 64 bytes come before the pending bits. */
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

void event_notify(u32 port)
{
    event_channel_op(EVTCHNOP_send, (u64)&port, 0);
}

void event_clear(u32 port)
{
    u64 *pending = (u64 *)(shared_info + EVTCHN_PENDING_OFFSET);
    __sync_fetch_and_and(&pending[port / 64], ~(1UL << (port % 64)));
}

void event_wait(u32 port)
{
    struct {
        u32 *ports;
        u32 nr_ports;
        u64 timeout; /* 0: none */
    } poll = {&port, 1, 0};
    sched_op(SCHEDOP_poll, (u64)&poll, 0);
}

void domain_shutdown(u32 reason)
{
    sched_op(SCHEDOP_shutdown, (u64)&reason, 0);
}
