/* The part of Xen's public interface that tiny speaks, by its public names (xen/include/public).
 * Only x86-64 paravirtualised guests are meant. */
#ifndef TINY_XEN_H
#define TINY_XEN_H

#include "tiny.h"

#define PAGE_SIZE 4096UL
#define PTE_PRESENT_WRITABLE_USER 7UL

/* xen.h: struct start_info, as the domain builder leaves it for an unprivileged guest. */
struct start_info {
    char magic[32];
    u64 nr_pages;
    u64 shared_info; /* machine address */
    u32 flags;
    u64 store_mfn;
    u32 store_evtchn;
    u64 console_mfn;
    u32 console_evtchn;
    u64 pt_base, nr_pt_frames, mfn_list, mod_start, mod_len;
    char cmd_line[1024];
};

/* io/console.h: struct xencons_interface. */
struct console_ring {
    char in[1024], out[2048];
    volatile u32 in_cons, in_prod, out_cons, out_prod;
};

/* io/xs_wire.h: struct xenstore_domain_interface and struct xsd_sockmsg. */
struct xenstore_ring {
    char req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
};
struct xenstore_message {
    u32 type, req_id, tx_id, len;
};
enum { XS_READ = 2, XS_WATCH = 4, XS_WRITE = 11, XS_WATCH_EVENT = 15 };
#define XENSTORE_PAYLOAD_MAX 4096

/* sched.h, event_channel.h. */
enum { SHUTDOWN_POWEROFF = 0, SHUTDOWN_REBOOT = 1 };

/* Two pages that the domain builder puts right behind start_info, in this order. */
static inline struct xenstore_ring *xenstore_page(struct start_info *si)
{
    return (struct xenstore_ring *)((u64)si + PAGE_SIZE);
}
static inline struct console_ring *console_page(struct start_info *si)
{
    return (struct console_ring *)((u64)si + 2 * PAGE_SIZE);
}

static inline void memory_barrier(void)
{
    __sync_synchronize();
}

/* event.c */
int map_shared_info(struct start_info *si); /* 0, or a negative Xen error */
const void *shared_time(void);              /* the first vcpu's struct vcpu_time_info */
void event_notify(u32 port);
void event_clear(u32 port);
void event_wait(const u32 *ports, u32 count); /* returns at once when one is pending already */
void domain_shutdown(u32 reason) __attribute__((noreturn));

/* clock.c */
void clock_init(void);

/* console.c; init returns the event channel. */
u32 console_init(struct start_info *si);
void console_flush(void);                  /* what was printed is seen only after it */
u32 console_read(char *typed, u32 most);   /* how many bytes; never waits */

/* xenstore.c; init returns the event channel. */
u32 xenstore_init(struct start_info *si);
void xenstore_watch(const char *path);
int xenstore_event(void); /* whether a watched path changed since it was asked last; never waits */
/* Both keep nothing of what they are given; read's answer holds until the next call. */
const char *xenstore_read(const char *path); /* "" when absent */
void xenstore_write(const char *path, const char *value);

#endif
