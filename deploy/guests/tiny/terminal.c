/* The console's line editor, and what is answered. A line holds at most LINE_MAX bytes; what is
 * typed beyond rings the bell. */
#include "tiny.h"

enum { BACKSPACE = 8, KILL_LINE = 21, DELETE = 127 };

static int is_line(const struct terminal *terminal, const char *word)
{
    u32 n = 0;
    while (word[n] && terminal->line[n] == word[n])
        n++;
    return !word[n] && n == terminal->length;
}

static enum wish answer(const struct terminal *terminal)
{
    if (is_line(terminal, "halt"))
        return WISH_HALT;
    if (is_line(terminal, "reboot"))
        return WISH_REBOOT;
    if (is_line(terminal, "") || is_line(terminal, "id")) {
        print_identity(terminal->command_line);
    } else if (is_line(terminal, "uptime")) {
        u64 tenths = uptime_ns() / 100000000;
        print("uptime=");
        print_number(tenths / 10);
        print(".");
        print_number(tenths % 10);
        print("s");
    } else {
        print("megafleet: ? try id, uptime, halt, reboot");
    }
    print("\n");
    return WISH_NONE;
}

static enum wish end_line(struct terminal *terminal)
{
    print("\n");
    terminal->line[terminal->length] = 0;
    enum wish wish = answer(terminal);
    terminal->length = 0;
    return wish;
}

static void rub_out(struct terminal *terminal)
{
    if (terminal->length) {
        terminal->length--;
        print("\b \b");
    }
}

static void append(struct terminal *terminal, char c)
{
    if (terminal->length == LINE_MAX) {
        print("\a");
        return;
    }
    terminal->line[terminal->length++] = c;
    print_bytes(&c, 1);
}

enum wish terminal_typed(struct terminal *terminal, char c)
{
    char last = terminal->last;
    terminal->last = c;
    if (c == '\n' && last == '\r') /* one Enter, sent as both */
        return WISH_NONE;
    if (c == '\r' || c == '\n')
        return end_line(terminal);
    if (c == BACKSPACE || c == DELETE)
        rub_out(terminal);
    else if (c == KILL_LINE)
        while (terminal->length)
            rub_out(terminal);
    else if (c >= ' ' && c <= '~')
        append(terminal, c);
    return WISH_NONE;
}
