// Batched update, several ways; --uuid: strategies on a random key; --memory: of the engine. See README.md beside this file.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/benchmarks/batched_update.h"
#include "tests/benchmarks/memory.h"
#include "tests/benchmarks/random_key.h"

int main(int argc, char** argv) {
  bool uuid = false;
  bool memory = false;
  migrationd::BatchedUpdateSettings update;
  migrationd::RandomKeySettings random_key;
  std::int64_t memory_batches = 100'000;
  CLI::App app{"Batched update, several ways, interleaved"};
  CLI::Option* const uuid_flag = app.add_flag("--uuid", uuid, "instead: KEYSET against PHYSICAL on a random uuid key, table larger than shared_buffers");
  app.add_flag("--memory", memory, "instead: resident memory of the engine over many batches")->excludes(uuid_flag);
  app.add_option("--url", update.url, "database to use; tables t and gitlab_jobs and schema migration_control there are dropped (default: a private one)");
  app.add_option("--rows", update.rows, "rows of the table")->check(CLI::Range(1, 100'000'000));
  app.add_option("--batch", update.batches, "rows of a sub-batch; may be given again")->check(CLI::Range(1, 100'000));
  app.add_option("--only", update.only, "only variants whose name holds this; may be given again");
  app.add_option("--rounds", update.rounds, "how often each variant runs")->check(CLI::Range(1, 100));
  app.add_option("--shared-buffers", random_key.shared_buffers_mb, "with --uuid: MB")->check(CLI::Range(1, 100'000));
  app.add_option("--fillfactor", random_key.fill_factors, "with --uuid; may be given again")->check(CLI::Range(10, 100));
  app.add_option("--batches", memory_batches, "with --memory: how many")->check(CLI::Range(10, 100'000'000));
  CLI11_PARSE(app, argc, argv);

  random_key.rows = update.rows;
  random_key.sub_batch_size = static_cast<std::int32_t>(update.batches.front());
  random_key.rounds = update.rounds;
  const absl::Status status = uuid     ? migrationd::CompareStrategies(random_key)
                              : memory ? migrationd::MeasureMemory(memory_batches)
                                       : migrationd::CompareUpdates(update);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
