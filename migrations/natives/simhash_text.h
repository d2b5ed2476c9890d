// A shipped native class, and an example of one: the SimHash of a text column into a bigint column, by which near-duplicates are found.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "migrations/kinds/native.h"

namespace migrationd {

// Charikar's SimHash over runs of `words_a_run` consecutive words: texts that share most runs have fingerprints that differ in few bits.
// Words are what stands between white space and ASCII punctuation, in lower case as far as they are ASCII. Fewer words than a run has make
// one run; no word at all gives 0. The same on every machine, for ever: fingerprints are stored.
std::uint64_t SimHash(std::string_view text, int words_a_run);

// Class `simhash_text`. Parameters: table; from: a text column; to: a bigint column; words: 1 to 8, default 3, words of a run. Does the
// rows whose `to` is NULL and whose `from` is not. A pair is near when bit_count((a.to # b.to)::bit(64)) is small, say 3.
class SimHashText final : public NativeMigration {
 public:
  static absl::StatusOr<std::unique_ptr<NativeMigration>> Make(NativeParameters& parameters);

  NativeShape Shape() const override;
  absl::Status CheckColumns(const std::vector<NativeColumn>& columns) const override;
  absl::StatusOr<std::int64_t> RunSubBatch(NativeBatch& batch) const override;

 private:
  std::string from_;
  std::string to_;
  int words_ = 0;
};

}  // namespace migrationd
