/* The ELF notes that tell Xen's domain builder how to load tiny, its first instruction, and the
 * page that the hypervisor fills with hypercall stubs. Note numbers: public/elfnote.h. */
    .section .note.xen, "a", @note
#define NOTE(type, value)                                       \
    .balign 4; .long 4; .long 2f - 1f; .long type; .asciz "Xen"; \
    1: value; 2: .balign 4
    NOTE(6, .asciz "megafleet-tiny")    /* GUEST_OS */
    NOTE(7, .asciz "1")                 /* GUEST_VERSION */
    NOTE(5, .asciz "xen-3.0")           /* XEN_VERSION */
    NOTE(8, .asciz "generic")           /* LOADER */
    NOTE(9, .asciz "yes")               /* PAE_MODE */
    NOTE(3, .quad 0)                    /* VIRT_BASE */
    NOTE(1, .quad _start)               /* ENTRY */
    NOTE(2, .quad hypercall_page)       /* HYPERCALL_PAGE */

    .text
    .globl _start
_start:                                 /* rsi: start_info; rsp: a boot stack of one page */
    cld
    movq %rsi, %rdi
    call guest_main
1:  jmp 1b

    .balign 4096
    .globl hypercall_page
hypercall_page:
    .skip 4096

    .section .note.GNU-stack, "", @progbits
