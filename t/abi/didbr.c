/* didbr.c -- the instruction DIVIDE TO INTEGER (DIDBR), which qemu up to 10.0 does not know, for LuaJIT on s390x.
 *
 * LuaJIT uses it in math.floor, math.ceil and %, always to divide by one, and looks only at the condition code, which
 * says whether the remainder is complete: the rounding itself is another instruction's.  Preloaded, this catches the
 * SIGILL and answers the quotient, the remainder, and code 0, or 1 for infinity and NaN.  Nothing remains of a number
 * above 2^53 divided by one, so code 2, "incomplete", does not occur here; what a machine answers there is unknown. */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

static double toward(int mode, double x) {
    switch (mode) {
    case 5:
        return trunc(x);
    case 6:
        return ceil(x);
    case 7:
        return floor(x);
    default:
        return nearbyint(x);
    }
}

/* RRF-b: b35b, then the nibbles of R3 (quotient), M4 (rounding), R1 (dividend, remainder), R2 (divisor). */
static void divide(mcontext_t *m, const uint8_t *code) {
    double *dividend = &m->fpregs.fprs[code[3] >> 4].d;
    double divisor = m->fpregs.fprs[code[3] & 15].d, exact = *dividend / divisor;
    double quotient = toward(code[2] & 15, exact);
    uint64_t cc = isfinite(exact) ? 0 : 1;
    *dividend = fma(-quotient, divisor, *dividend);
    m->fpregs.fprs[code[2] >> 4].d = quotient;
    m->psw.mask = (m->psw.mask & ~(3ULL << 44)) | cc << 44;
}

/* The address is that of the instruction or of the next, by the version of qemu. */
static void caught(int sig, siginfo_t *info, void *context) {
    mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    const uint8_t *code = (const uint8_t *)m->psw.addr;
    (void)info;
    if (code[0] == 0xb3 && code[1] == 0x5b)
        m->psw.addr += 4;
    else
        code -= 4;
    if (code[0] == 0xb3 && code[1] == 0x5b)
        divide(m, code);
    else
        signal(sig, SIG_DFL);
}

__attribute__((constructor)) static void start(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
    sigaction(SIGILL, &action, NULL);
}
