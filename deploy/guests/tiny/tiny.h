/* What needs no hypervisor: the guest's words, its line editor, arithmetic of rings. */
#ifndef TINY_H
#define TINY_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

/* A ring's indices run on and wrap at 2^32; the other side's may hold anything. What it claims
 * beyond the ring's size counts as nothing to read, and as no room to write. */
static inline u32 ring_used(u32 prod, u32 cons, u32 size)
{
    u32 used = prod - cons;
    return used > size ? 0 : used;
}
static inline u32 ring_room(u32 prod, u32 cons, u32 size)
{
    u32 used = prod - cons;
    return used > size ? 0 : size - used;
}

/* words.c */
u32 text_length(const char *text);
/* The value of `key` (given with its '='), up to the next space; "-" when it is not there. */
const char *argument(const char *command_line, const char *key);
void print_until_space(const char *text);
void print_identity(const char *command_line); /* "name=... index=..." */
void print_number(u64 number);

/* terminal.c */
#define LINE_MAX 64
enum wish { WISH_NONE, WISH_HALT, WISH_REBOOT };
struct terminal {
    const char *command_line;
    char line[LINE_MAX + 1];
    u32 length;
    char last;
};
/* Takes one byte that was typed, echoes it, and answers when it ends a line. */
enum wish terminal_typed(struct terminal *terminal, char c);

/* What the above are given: console.c and clock.c. */
void print(const char *text);
void print_bytes(const char *text, u32 count);
u64 uptime_ns(void);

#endif
