/*
 * tools/tally.c: the operator's command line.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/command.h"

static const char help[] =
    "usage: tally COMMAND [OPTION]…\n"
    "\n"
    "  query      run SQL and print the answer\n"
    "  import     load access logs, CSV or NDJSON\n"
    "  generate   make realistic traffic: into a database, or as CSV or NDJSON\n"
    "  status     counts, sizes, memory, positions\n"
    "  inspect    what the files hold, column by column\n"
    "  verify     check every checksum and invariant\n"
    "  compact    merge all segments to their final form\n"
    "  token      make, list and revoke the tokens that let clients in\n"
    "\n"
    "Each command takes --server HOST:PORT or --data DIR, and --help with examples. A server that\n"
    "asks for a token is given $TALLY_TOKEN. --tls speaks TLS to it, --ca FILE with authorities\n"
    "of your own (also $TALLY_TLS=1, $TALLY_CA); its certificate is always verified.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n"
    "\n"
    "examples:\n"
    "  tally generate --seed 1 --merchants 1000 --events 100000 --from 2024-06-01 --days 30 \\\n"
    "        --data ./tally-data\n"
    "  tally query --data ./tally-data 'SELECT count(*) FROM events'\n"
    "  tally import --format combined --server 127.0.0.1:7070 /var/log/nginx/access.log\n";

static const struct {
    const char *name;
    int (*run)(struct tl_args *a);
} commands[] = {
    {"query", tl_command_query},       {"import", tl_command_import},
    {"generate", tl_command_generate}, {"status", tl_command_status},
    {"inspect", tl_command_inspect},   {"verify", tl_command_verify},
    {"compact", tl_command_compact},   {"token", tl_command_token},
};

static void on_interrupt(int number)
{
    tl_client_interrupted = 1;
    signal(number, SIG_DFL); /* a second one ends at once */
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (argc < 2) {
        fputs(help, stderr);
        return TL_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return TL_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("tally %s\n", tally_version());
        return TL_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            struct tl_args a = {.count = argc, .values = argv, .next = 2, .command = argv[1]};
            return commands[i].run(&a);
        }
    }
    fprintf(stderr, "tally: there is no command '%s'; see tally --help\n", argv[1]);
    return TL_EXIT_USAGE;
}
