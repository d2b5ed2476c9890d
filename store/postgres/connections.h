// What PostgresControlStore consists of; apart, so that libpqxx does not show in its header.
#pragma once

#include <utility>

#include "store/postgres/connection_pool.h"
#include "store/postgres/connection_watchdog.h"
#include "store/postgres/definition_cache.h"
#include "store/postgres/postgres_control_store.h"
#include "store/postgres/schema.h"
#include "store/postgres/transaction.h"

namespace migrationd {

struct PostgresControlStore::Connections {
  explicit Connections(PostgresControlStoreOptions options)
      : schema_steps(options.schema_steps == nullptr ? ControlSchemaSteps() : *options.schema_steps),
        pool({.url = std::move(options.url),
              .max_connections = options.max_connections,
              .wait = options.statement_timeout,
              .connection = {.connect_timeout = options.connect_timeout,
                             .network_timeout = 2 * options.statement_timeout,
                             .application_name = NameWithVersion(options.application_name, schema_steps)}}),
        transactions(pool, watchdog, options.statement_timeout) {}

  const SchemaSteps& schema_steps;
  ConnectionWatchdog watchdog;
  ConnectionPool pool;
  TransactionRunner transactions;
  // More migrations than most have; beyond it, definitions are read more often.
  DefinitionCache definitions{1024};
};

}  // namespace migrationd
