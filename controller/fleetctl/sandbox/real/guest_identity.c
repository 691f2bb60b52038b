/* The guest's first process where its host gives it an identity: it waits on a virtio-serial port
 * until it is told who it is, becomes that by system calls alone, and says on the console that it
 * is ready. A template is frozen while this waits, so that nothing is left to be started in a
 * clone: under emulation each new program costs a tenth of a second and more.
 *
 * No C library: any C compiler builds it, tcc too. What is said on the port: docs/clones.md. */

typedef unsigned long word;

__asm__(".globl _start\n"
        "_start:\n"
        "  xorl %ebp, %ebp\n"
        "  andq $-16, %rsp\n"
        "  call live\n"
        ".globl sys\n"
        "sys:\n" /* sys(number, a, b, c, d): the C calling convention to the kernel's */
        "  movq %rdi, %rax\n"
        "  movq %rsi, %rdi\n"
        "  movq %rdx, %rsi\n"
        "  movq %rcx, %rdx\n"
        "  movq %r8, %r10\n"
        "  syscall\n"
        "  ret\n");
long sys(long number, word a, word b, word c, word d);

enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, IOCTL = 16, PREAD = 17, PWRITE = 18, DUP2 = 33,
       NANOSLEEP = 35, SOCKET = 41, FORK = 57, EXECVE = 59, EXIT = 60, WAIT4 = 61, FSYNC = 74,
       SETSID = 112, SETHOSTNAME = 170, CLOCK_SETTIME = 227, GETRANDOM = 318 };
enum { RDONLY = 0, RDWR = 2, CREATE = 01 | 0100 | 01000 };
enum { TIOCSCTTY = 0x540e, BLKRRPART = 0x125f, RNDADDENTROPY = 0x40085203, RNDRESEEDCRNG = 0x5207,
       SIFFLAGS = 0x8914, SIFADDR = 0x8916, SIFNETMASK = 0x891c, SIFHWADDR = 0x8924 };

#define PORT "/dev/vport0p1"
#define DISK "/dev/vda"
#define MESSAGE 8192
#define SECTOR_LINE 64

static char message[MESSAGE];
static char line[1024];
static int console, port;

void *memset(void *to, int value, word count)
{
	char *at = to;
	while (count--)
		*at++ = value;
	return to;
}

void *memcpy(void *to, const void *from, word count)
{
	char *at = to;
	const char *source = from;
	while (count--)
		*at++ = *source++;
	return to;
}

static word length(const char *text)
{
	word count = 0;
	while (text[count])
		count++;
	return count;
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void wait_ms(long count)
{
	long span[2];
	span[0] = count / 1000;
	span[1] = count % 1000 * 1000000;
	sys(NANOSLEEP, (word)span, 0, 0, 0);
}

static void say(int file, const char *text)
{
	sys(WRITE, file, (word)text, length(text), 0);
}

static char *put(char *at, const char *text)
{
	while (*text && at < line + sizeof line - 32)
		*at++ = *text++;
	*at = 0;
	return at;
}

static word number(const char *text)
{
	word value = 0;
	while (*text >= '0' && *text <= '9')
		value = value * 10 + (*text++ - '0');
	return value;
}

static char *put_number(char *at, word value)
{
	char digits[24], *first = digits + sizeof digits;
	*--first = 0;
	do
		*--first = '0' + value % 10;
	while (value /= 10);
	return put(at, first);
}

static char *put_hex(char *at, const unsigned char *bytes, int count)
{
	int i;
	for (i = 0; i < count; i++) {
		*at++ = "0123456789abcdef"[bytes[i] >> 4];
		*at++ = "0123456789abcdef"[bytes[i] & 15];
	}
	*at = 0;
	return at;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Bytes from hexadecimal digits, with or without colons between them. */
static int from_hex(const char *text, unsigned char *bytes, int most)
{
	int count = 0;
	while (count < most && nibble(text[0]) >= 0 && nibble(text[1]) >= 0) {
		bytes[count++] = nibble(text[0]) * 16 + nibble(text[1]);
		text += 2;
		if (*text == ':')
			text++;
	}
	return count;
}

/* The value of one line "key=value" of the message; empty when there is none. */
static char *value_of(const char *key)
{
	char *at = message;
	while (*at) {
		word size = length(key), i = 0;
		while (i < size && at[i] == key[i])
			i++;
		if (i == size && at[i] == '=')
			return at + size + 1;
		at += length(at) + 1;
	}
	return "";
}

/* All lines until an empty one; line ends become zeros. An end of file is a host that went away. */
static void hear(void)
{
	word held = 0, i;
	for (;;) {
		long got = sys(READ, port, (word)(message + held), MESSAGE - 2 - held, 0);
		if (got <= 0) {
			held = 0;
			wait_ms(20);
			continue;
		}
		held += got;
		if (held >= MESSAGE - 2)
			held = 0;
		for (i = 1; i < held; i++)
			if (message[i] == '\n' && message[i - 1] == '\n') {
				message[i] = 0;
				while (i--)
					if (message[i] == '\n')
						message[i] = 0;
				return;
			}
	}
}

static void write_file(const char *path, const char *text)
{
	int file = sys(OPEN, (word)path, CREATE, 0644, 0);
	if (file >= 0) {
		say(file, text);
		say(file, "\n");
		sys(CLOSE, file, 0, 0, 0);
	}
}

static void mix_seed(const char *digits)
{
	struct {
		int bits, size;
		unsigned char bytes[64];
	} pool;
	int file = sys(OPEN, (word)"/dev/urandom", RDWR, 0, 0);
	pool.size = from_hex(digits, pool.bytes, sizeof pool.bytes);
	pool.bits = pool.size * 8;
	sys(IOCTL, file, RNDADDENTROPY, (word)&pool, 0);
	sys(IOCTL, file, RNDRESEEDCRNG, 0, 0);
	sys(CLOSE, file, 0, 0, 0);
}

static void set_clock(const char *nanoseconds)
{
	word since = number(nanoseconds), time[2];
	if (!since)
		return;
	time[0] = since / 1000000000;
	time[1] = since % 1000000000;
	sys(CLOCK_SETTIME, 0, (word)time, 0, 0);
}

struct request { /* ifreq */
	char name[16];
	union {
		short flags;
		struct {
			unsigned short family;
			unsigned char data[14];
		} address;
		char room[24];
	} is;
};

static void set_network(const char *mac, const char *address)
{
	struct request one;
	int i, octet = 2, bits, file = sys(SOCKET, 2, 2, 0, 0);
	memset(&one, 0, sizeof one);
	memcpy(one.name, "eth0", 5);
	one.is.address.family = 1; /* ARPHRD_ETHER */
	if (from_hex(mac, one.is.address.data, 6) != 6)
		return;
	sys(IOCTL, file, SIFHWADDR, (word)&one, 0);
	if (*address) { /* 10.0.0.2/8 */
		memset(&one.is, 0, sizeof one.is);
		one.is.address.family = 2;
		for (i = 2; i < 6; i++) {
			one.is.address.data[i] = number(address);
			while (*address >= '0' && *address <= '9')
				address++;
			if (*address == '.')
				address++;
		}
		sys(IOCTL, file, SIFADDR, (word)&one, 0);
		if (*address == '/') {
			bits = number(address + 1);
			for (octet = 2; octet < 6; octet++, bits -= 8)
				one.is.address.data[octet] =
				    bits >= 8 ? 255 : bits > 0 ? 255 << (8 - bits) : 0;
			sys(IOCTL, file, SIFNETMASK, (word)&one, 0);
		}
	}
	memset(&one.is, 0, sizeof one.is);
	one.is.flags = 1; /* IFF_UP */
	sys(IOCTL, file, SIFFLAGS, (word)&one, 0);
	sys(CLOSE, file, 0, 0, 0);
}

/* Whose the disk is and how often it was booted stand in its first 64 bytes: "name boots". Returns
 * the boots with this one; 0: there is no disk; else whose it is. */
static word boots_of(const char *name, char **owner)
{
	static char held[SECTOR_LINE + 1];
	char *at, *end;
	word boots = 0;
	int file = sys(OPEN, (word)DISK, RDWR, 0, 0);
	*owner = 0;
	if (file < 0)
		return 0;
	sys(IOCTL, file, BLKRRPART, 0, 0);
	if (sys(PREAD, file, (word)held, SECTOR_LINE, 0) != SECTOR_LINE) {
		sys(CLOSE, file, 0, 0, 0);
		return 0;
	}
	for (end = held; *end && *end != ' ' && *end != '\n'; end++)
		;
	if (*end)
		*end++ = 0;
	if (same(held, name))
		boots = number(end);
	else if (!same(held, "golden")) {
		*owner = held;
		sys(CLOSE, file, 0, 0, 0);
		return 0;
	}
	at = put(line, name);
	at = put(at, " ");
	at = put_number(at, ++boots);
	while (at < line + SECTOR_LINE - 1)
		*at++ = ' ';
	line[SECTOR_LINE - 1] = '\n';
	sys(PWRITE, file, (word)line, SECTOR_LINE, 0);
	sys(FSYNC, file, 0, 0, 0); /* a QEMU that is killed loses what it only remembers */
	sys(CLOSE, file, 0, 0, 0);
	return boots;
}

static void become(void)
{
	unsigned char random[8];
	const char *name, *index;
	char *at, *owner;
	word boots;
	mix_seed(value_of("seed"));
	set_clock(value_of("clock"));
	name = value_of("name");
	index = value_of("index");
	sys(SETHOSTNAME, (word)name, length(name), 0, 0);
	write_file("/etc/hostname", name);
	write_file("/etc/machine-id", value_of("machine_id"));
	write_file("/etc/cmdline", value_of("cmdline"));
	set_network(value_of("mac"), value_of("address"));
	boots = boots_of(name, &owner);
	sys(GETRANDOM, (word)random, sizeof random, 0, 0);
	at = put(line, owner ? "\nmegafleet: not ready name=" : "\nmegafleet: ready name=");
	at = put(put(put(at, name), " index="), index);
	if (owner)
		at = put(put(at, ": vda is the disk of "), owner);
	else {
		at = put_number(put(put(put(at, " disk="), boots ? "vda" : "none"), " boots="), boots);
		at = put(put(at, " mac="), value_of("mac"));
		at = put(put(at, " address="), value_of("address"));
		at = put(put(at, " machine_id="), value_of("machine_id"));
		at = put_hex(put(at, " random="), random, sizeof random);
	}
	put(at, "\n");
	say(console, line);
	say(port, "taken\n");
}

static int shell(void)
{
	static char *words[] = {"sh", 0};
	static char *environment[] = {"HOME=/", "PATH=/bin", "TERM=vt100", 0};
	int i, child = sys(FORK, 0, 0, 0, 0);
	if (child)
		return child;
	sys(SETSID, 0, 0, 0, 0);
	console = sys(OPEN, (word)"/dev/ttyS0", RDWR, 0, 0);
	sys(IOCTL, console, TIOCSCTTY, 1, 0);
	for (i = 0; i < 3; i++)
		sys(DUP2, console, i, 0, 0);
	sys(EXECVE, (word)"/bin/busybox", (word)words, (word)environment, 0);
	sys(EXIT, 1, 0, 0, 0);
	return 0;
}

/* Until it waits for somebody to type: three looks one after another find it asleep. */
static void until_asleep(int child)
{
	char stat[256], *at;
	int looks, asleep = 0, file;
	long got;
	at = put_number(put(line, "/proc/"), child);
	put(at, "/stat");
	for (looks = 0; looks < 200 && asleep < 3; looks++) {
		wait_ms(50);
		file = sys(OPEN, (word)line, RDONLY, 0, 0);
		got = sys(READ, file, (word)stat, sizeof stat - 1, 0);
		sys(CLOSE, file, 0, 0, 0);
		stat[got > 0 ? got : 0] = 0;
		for (at = stat; *at && *at != ')'; at++)
			;
		asleep = *at && at[2] == 'S' ? asleep + 1 : 0;
	}
}

void live(void)
{
	int child, tries;
	console = sys(OPEN, (word)"/dev/ttyS0", RDWR | 0400, 0, 0); /* no controlling terminal of ours */
	for (tries = 0, port = -1; port < 0 && tries < 500; tries++) {
		port = sys(OPEN, (word)PORT, RDWR, 0, 0);
		if (port < 0)
			wait_ms(20);
	}
	if (port < 0)
		say(console, "megafleet: not ready: there is no " PORT "\n");
	child = shell();
	if (port >= 0) {
		until_asleep(child);
		say(port, "waiting\n");
		hear();
		become();
	}
	for (;;)
		if (sys(WAIT4, -1, 0, 0, 0) == child)
			child = shell();
}
