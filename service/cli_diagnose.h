#ifndef SERVICE_CLI_DIAGNOSE_H
#define SERVICE_CLI_DIAGNOSE_H
/* mailhatch diagnose [RELAY | HOST[:PORT] | URL] [OPTIONS]. argv without the program's name and the command word. */

/* The exit status: 0 it works, 1 no diagnosis could be made, 2 usage or configuration, else the stage where it ends;
 * fixed for ever: 10 config, 11 dns, 12 connect, 13 tls, 14 banner, 15 ehlo, 16 starttls, 17 certificate, 18 auth,
 * 19 mail, 20 rcpt, 21 the mail itself, 22 no time left or canceled. */
int cli_diagnose(int argc, char **argv);
#endif
