/* Who the guest is, from its command line, and the printing of it. */
#include "tiny.h"

u32 text_length(const char *text)
{
    u32 n = 0;
    while (text[n])
        n++;
    return n;
}

const char *argument(const char *command_line, const char *key)
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

void print_until_space(const char *text)
{
    u32 n = 0;
    while (text[n] && text[n] != ' ')
        n++;
    print_bytes(text, n);
}

void print_identity(const char *command_line)
{
    print("name=");
    print_until_space(argument(command_line, "name="));
    print(" index=");
    print_until_space(argument(command_line, "index="));
}

void print_number(u64 number)
{
    char digits[20];
    u32 n = sizeof digits;
    do {
        digits[--n] = '0' + number % 10;
        number /= 10;
    } while (number);
    print_bytes(digits + n, sizeof digits - n);
}
