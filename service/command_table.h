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
    X("sample", "", "A commented configuration file with every setting.") \
    X("reference", "", "The page docs/configuration.md.") \
    X("man", "", "The manual page mailhatch(8).") \
    X("man5", "", "The manual page mailhatch.conf(5).") \
    X("completion", "bash|zsh", "A shell's completion.")

struct command_row {
    const char *word, *arguments, *help;
};
#endif
