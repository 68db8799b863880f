#ifndef SERVICE_CLI_H
#define SERVICE_CLI_H
/* The commands that are not the daemon. Each takes argv without the program's name and the command word, and returns
 * the exit status. */

int cli_send(int argc, char **argv);            /* 0 sent, 1 failed, 2 usage or configuration, 3 partial, 4 unknown */
int cli_healthcheck(int argc, char **argv);     /* 0 alive, 1 not, 2 configuration */
int cli_check_config(int argc, char **argv);    /* 0 fine, 2 not */
int cli_key(int argc, char **argv);             /* 0 made, 2 usage */
/* "", or a topic of command_table.h with its argument; 2 when there is no such page. */
int cli_help(const char *topic, const char *argument);
int cli_version(void);
int cli_unknown(const char *word);              /* an unknown command: did you mean; 2 */
#endif
