/* block-phy: the hotplug path for plain block devices, in place of Xen's general script.
 *
 * Xen's script is bash, runs serially under one lock, and reads all of xenstore to see whether
 * another domU has the device: seconds a disk on a dense dom0. This program does what remains for
 * a block device that nobody shares, over one connection to xenstored: it reads which device is
 * meant, and writes its numbers and that it is connected. Whatever it does not understand goes on
 * to the stock script, with the same arguments and environment.
 *
 * It does not look whether another domU has the device already: each domU of a fleet has a clone
 * of its own. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define STOCK "/etc/xen/scripts/block.stock"
#define XENSTORED "/run/xenstored/socket"
#define PATIENCE_SECONDS 20 /* libxl gives a hotplug script 40 */
#define PAYLOAD_MAX 4096    /* XENSTORE_PAYLOAD_MAX of xen/io/xs_wire.h */

enum { XS_READ = 2, XS_WRITE = 11, XS_ERROR = 16 }; /* enum xsd_sockmsg_type, same file */

struct header {
    uint32_t type, request, transaction, length;
};

static void stock_script(char **argv)
{
    argv[0] = STOCK;
    execv(STOCK, argv);
    perror(STOCK);
    _exit(1);
}

static int connect_xenstored(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = XENSTORED};
    struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    int xs = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (xs < 0 || setsockopt(xs, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) ||
        setsockopt(xs, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) ||
        connect(xs, (struct sockaddr *)&address, sizeof address))
        return -1;
    return xs;
}

static int read_whole(int xs, void *into, size_t length)
{
    for (char *at = into; length;) {
        ssize_t got = read(xs, at, length);
        if (got <= 0)
            return -1;
        at += got;
        length -= (size_t)got;
    }
    return 0;
}

/* The payload of the next answer, ended with a zero; NULL when it is an error or there is none. */
static const char *answer(int xs, uint32_t type)
{
    static char payload[PAYLOAD_MAX + 1];
    struct header header;
    if (read_whole(xs, &header, sizeof header) || header.length > PAYLOAD_MAX ||
        read_whole(xs, payload, header.length) || header.type != type)
        return NULL;
    payload[header.length] = 0;
    return payload;
}

/* Makes one request in `out`, for base/key and, for a write, its value: how long it is. */
static size_t add_request(char *out, uint32_t type, const char *base, const char *key,
                          const char *value)
{
    struct header *header = (struct header *)out;
    char *body = out + sizeof *header;
    int path = snprintf(body, PAYLOAD_MAX, "%s/%s", base, key) + 1;
    size_t length = (size_t)path + strlen(value);
    memcpy(body + path, value, strlen(value));
    *header = (struct header){.type = type, .length = (uint32_t)length};
    return sizeof *header + length;
}

static int send_whole(int xs, const char *from, size_t length)
{
    return write(xs, from, length) == (ssize_t)length ? 0 : -1;
}

int main(int argc, char **argv)
{
    static char out[sizeof(struct header) + 2 * PAYLOAD_MAX] __attribute__((aligned(8)));
    const char *base = getenv("XENBUS_PATH");
    char device[PAYLOAD_MAX + 1], numbers[32];
    const char *params;
    struct stat node;
    int xs;

    if (argc != 2 || !base || strlen(base) > 1024 || (xs = connect_xenstored()) < 0 ||
        send_whole(xs, out, add_request(out, XS_READ, base, "params", "")) ||
        !(params = answer(xs, XS_READ)) || strlen(params) > 1024)
        stock_script(argv);
    strcpy(device, params);
    if (stat(device, &node) || !S_ISBLK(node.st_mode))
        stock_script(argv);
    if (strcmp(argv[1], "add")) /* the stock script undoes nothing for a block device either */
        return 0;

    snprintf(numbers, sizeof numbers, "%x:%x", major(node.st_rdev), minor(node.st_rdev));
    const char *pairs[][2] = {{"physical-device", numbers},
                              {"physical-device-path", device},
                              {"hotplug-status", "connected"}};
    for (size_t n = 0; n < 3; n++) {
        if (send_whole(xs, out, add_request(out, XS_WRITE, base, pairs[n][0], pairs[n][1])))
            stock_script(argv);
    }
    for (size_t n = 0; n < 3; n++)
        if (!answer(xs, XS_WRITE))
            stock_script(argv);
    return 0;
}
