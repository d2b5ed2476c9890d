#include "tests/benchmarks/memory.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/status_macros.h"
#include "tests/benchmarks/cluster.h"
#include "tests/benchmarks/engine.h"
#include "tests/benchmarks/resident.h"
#include "tests/benchmarks/update.h"

namespace migrationd {
namespace {

constexpr std::int32_t kSubBatch = 5;
constexpr std::int32_t kBatch = 2 * kSubBatch;
constexpr std::int64_t kSamples = 10;

}  // namespace

absl::Status MeasureMemory(std::int64_t batches) {
  MD_ASSIGN_OR_RETURN(const auto cluster, BenchmarkCluster::Start(/*shared_buffers_mb=*/1024));
  MD_ASSIGN_OR_RETURN(const auto sql, OpenConnection(cluster->postgres().Url()));
  MD_RETURN_IF_ERROR(MakeFresh(*sql, "t", MakeUpdateTable(batches * kBatch)));
  std::int64_t done = 0;
  std::vector<std::int64_t> resident_kb;
  EngineOptions options;
  options.url = cluster->postgres().Url();
  options.definition = kUpdateYaml;
  options.batch_size = kBatch;
  options.sub_batch_size = kSubBatch;
  options.on_batch = [&] {
    if (++done % (batches / kSamples) != 0) return;
    resident_kb.push_back(ResidentKb("self"));
    absl::PrintF("%9d batches: %7d kB resident\n", done, resident_kb.back());
  };
  MD_ASSIGN_OR_RETURN(const auto engine, Engine::Open(std::move(options)));
  MD_RETURN_IF_ERROR(engine->RunPass().status());
  MD_RETURN_IF_ERROR(engine->Finish());
  if (done < batches || resident_kb.empty() || resident_kb.front() == 0) {
    return absl::InternalError(absl::StrCat(done, " batches were run of ", batches, ", or memory could not be read"));
  }
  absl::PrintF("after all of them %.3f of what it was after a tenth\n",
               static_cast<double>(resident_kb[kSamples - 1]) / static_cast<double>(resident_kb.front()));
  return absl::OkStatus();
}

}  // namespace migrationd
