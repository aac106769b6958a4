#ifndef NP_CLI_LEAKS_H
#define NP_CLI_LEAKS_H

/* In a build with the address sanitiser: ends the program, with a report, if memory is lost. Else nothing. */
void np_leaks_check(void);

#endif
