// Native classes that do what a test says.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "migrations/kinds/native.h"

namespace migrationd {

// A class of that shape whose sub-batches are `work`, which is called from the threads of all lanes.
class NativeProbe final : public NativeMigration {
 public:
  using Work = std::function<absl::StatusOr<std::int64_t>(NativeBatch&)>;
  NativeProbe(NativeShape shape, Work work) : shape_(std::move(shape)), work_(std::move(work)) {}

  NativeShape Shape() const override { return shape_; }
  absl::StatusOr<std::int64_t> RunSubBatch(NativeBatch& batch) const override { return work_(batch); }

 private:
  const NativeShape shape_;
  const Work work_;
};

// A registry of one class, `probe`, without parameters besides the table.
inline std::shared_ptr<const NativeRegistry> ProbeRegistry(NativeProbe::Work work, NativeShape shape = {}) {
  auto natives = std::make_shared<NativeRegistry>();
  natives->Add("probe", [work = std::move(work), shape = std::move(shape)](NativeParameters&) -> absl::StatusOr<std::unique_ptr<NativeMigration>> {
    return std::make_unique<NativeProbe>(shape, work);
  });
  return natives;
}

inline std::string ProbeDefinition(const std::string& table) {
  return "native:\n  class: probe\n  parameters: {table: '" + table + "'}\n";
}

// SET column `n` = n + 1, with the sum made in C++: done twice, it shows.
inline absl::StatusOr<std::int64_t> IncrementN(NativeBatch& batch) {
  absl::StatusOr<std::vector<NativeRow>> rows = batch.Select({"n"});
  if (!rows.ok()) return rows.status();
  for (NativeRow& row : *rows) row.back() = std::to_string(std::stoll(row.back().value()) + 1);
  return batch.Update({"n"}, *rows);
}

}  // namespace migrationd
