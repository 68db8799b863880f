#ifndef SERVICE_COMMAND_TABLE_H
#define SERVICE_COMMAND_TABLE_H
/* Every command and every topic of `mailhatch help`, once. From these rows come the usage page, did-you-mean, the man
 * page and the completions.
 * X(word, arguments, what it does) */

#define COMMAND_TABLE(X) \
    X("send", "[FILE] [OPTIONS]", \
      "Send one mail (the API's JSON, from FILE or standard input) and print the API's answer.") \
    X("diagnose", "[RELAY|HOST[:PORT]]", \
      "Walk the way to a relay step by step: what fails, why, and what to change.") \
    X("check-config", "[OPTIONS]", "Tell every mistake in the settings, or what is in force and where it came from.") \
    X("healthcheck", "[OPTIONS]", "Ask the admin listener's /livez: status 0 when it answers.") \
    X("key", "new NAME", "Make an API key: its secret, once, and the line for api_keys_file.") \
    X("help", "[TOPIC]", "The usage, or one of the topics below.") \
    X("version", "", "The versions of the program and of its libraries.")

#define TOPIC_TABLE(X) \
    X("diagnose", "", "The options of diagnose, and its exit statuses.") \
    X("sample", "", "A commented configuration file with every setting.") \
    X("reference", "", "The page docs/configuration.md.") \
    X("man", "", "The manual page mailhatch(8).") \
    X("man5", "", "The manual page mailhatch.conf(5).") \
    X("completion", "bash|zsh", "A shell's completion.")

/* The options of `mailhatch diagnose`, beside those of the configuration.
 * X(name, member of struct wanted, argument (NULL: a flag), what it does) */
#define DIAGNOSE_TABLE(X) \
    X("--to", to, "ADDRESS", "Say MAIL and RCPT for this recipient too, then RSET.") \
    X("--from", from, "ADDRESS", "The sender of that; else the user, else the recipient.") \
    X("--send", send, NULL, "With --to: send a small real mail.") \
    X("--user", user, "NAME", "Log in as NAME; with --password-file.") \
    X("--password-file", password_file, "FILE", "The password's file; - is standard input.") \
    X("--no-auth", no_auth, NULL, "Do not show the password.") \
    X("--tls", tls, "MODE", "starttls, implicit or none, whatever the port or the configuration says.") \
    X("--ca-file", ca_file, "FILE", "PEM file of the authorities to trust instead of the system's.") \
    X("--tls-versions", tls_versions, NULL, "Try TLS 1.0 to 1.3 one by one, on connections of their own.") \
    X("--all-ports", all_ports, NULL, "Look at ports 25, 465, 587 and 2525, too.") \
    X("--address", address, "IP", "Connect to this address, whatever DNS says.") \
    X("--timeout", timeout, "SECONDS", "For the whole run; default 90.") \
    X("--trace", trace, NULL, "Show each line of the wire on standard error, without passwords and mail texts.") \
    X("--json", json, NULL, "Print the report as JSON, and nothing else.") \
    X("--quiet", quiet, NULL, "Print the conclusion only.") \
    X("--watch", watch, "SECONDS", "Repeat, and print what changed.") \
    X("--compare", compare, "FILE", "Compare with a report saved by --json elsewhere.")

struct command_row {
    const char *word, *arguments, *help;
};
#endif
