/*
 * tools/tallyd_config.h: what tallyd is told, by flags, environment and file.
 *
 * One table names each setting once: the flag --query-threads is the variable
 * TALLY_QUERY_THREADS and the line `query-threads = …` of the file. A flag wins over the
 * environment, that over the file, that over the default.
 *
 * Ownership  strings belong to the config; deinit frees them.
 * Errors     TL_INVALID with the setting's name, where it came from and what it takes.
 */
#ifndef TALLY_TOOLS_TALLYD_CONFIG_H
#define TALLY_TOOLS_TALLYD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

struct tallyd_config {
    char *data;
    char *grpc; /* "HOST:PORT" or "off" */
    char *http; /* the same; NULL: off */
    char *pg;
    char *config; /* the file itself; flag and environment only */
    char *tls_cert, *tls_key;
    char *io, *log_compression;
    char *log_format, *log_level;
    uint64_t memory_bytes, rejects_bytes, query_memory_bytes;
    uint64_t query_timeout_ms, drain_ms, idle_ms;
    uint64_t shards, query_threads, query_workers;
    uint64_t connections, streams;
    bool insecure, check_config, help, version;
};

TL_CHECK enum tl_code tallyd_config_read(int argc, char **argv, struct tallyd_config *out,
                                         struct tl_status *st);
/* Every setting with its value, as lines of a file. */
void tallyd_config_print(const struct tallyd_config *c, FILE *out);
void tallyd_config_help(FILE *out);
void tallyd_config_deinit(struct tallyd_config *c);

#endif
