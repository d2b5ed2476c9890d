#include "migrations/natives/simhash_text.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

constexpr int kBits = 64;

// FNV-1a, then the finalizer of SplitMix64, since FNV's upper bits hardly depend on the last bytes and each bit has a vote here.
std::uint64_t Hash(std::uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}
constexpr std::uint64_t kHashBegin = 0xCBF29CE484222325ULL;
std::uint64_t Mixed(std::uint64_t hash) {
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9ULL;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EBULL;
  return hash ^ (hash >> 31);
}

// Bytes of UTF-8 beyond ASCII belong to words, whatever they mean.
bool IsOfWord(unsigned char c) { return c >= 0x80 || absl::ascii_isalnum(c); }

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  bool in_word = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (IsOfWord(byte)) {
      if (!in_word) words.emplace_back();
      words.back() += absl::ascii_tolower(byte);
    }
    in_word = IsOfWord(byte);
  }
  return words;
}

std::uint64_t HashOfRun(const std::vector<std::string>& words, std::size_t begin, std::size_t end) {
  std::uint64_t hash = kHashBegin;
  for (std::size_t i = begin; i < end; ++i) hash = Hash(Hash(hash, words[i]), " ");
  return Mixed(hash);
}

}  // namespace

std::uint64_t SimHash(std::string_view text, int words_a_run) {
  const std::vector<std::string> words = Words(text);
  if (words.empty()) return 0;
  const std::size_t length = std::min(words.size(), static_cast<std::size_t>(words_a_run));
  std::array<std::int64_t, kBits> votes = {};
  for (std::size_t begin = 0; begin + length <= words.size(); ++begin) {
    const std::uint64_t hash = HashOfRun(words, begin, begin + length);
    for (int bit = 0; bit < kBits; ++bit) votes[bit] += (hash >> bit & 1) != 0 ? 1 : -1;
  }
  std::uint64_t fingerprint = 0;
  for (int bit = 0; bit < kBits; ++bit) fingerprint |= std::uint64_t{votes[bit] > 0} << bit;
  return fingerprint;
}

absl::StatusOr<std::unique_ptr<NativeMigration>> SimHashText::Make(NativeParameters& parameters) {
  auto made = std::make_unique<SimHashText>();
  made->from_ = parameters.Column("from");
  made->to_ = parameters.Column("to");
  made->words_ = static_cast<int>(parameters.Integer("words", 1, 8, 3));
  if (!made->to_.empty() && made->to_ == made->from_) parameters.Refuse("to", "is the same column as `from`; name another one");
  return made;
}

NativeShape SimHashText::Shape() const {
  return {.where = absl::StrCat(QuoteIdentifier(to_), " IS NULL AND ", QuoteIdentifier(from_), " IS NOT NULL"), .columns = {from_, to_}};
}

absl::Status SimHashText::CheckColumns(const std::vector<NativeColumn>& columns) const {
  for (const NativeColumn& column : columns) {
    if (column.name == from_ && column.type != "text" && !absl::StartsWith(column.type, "character")) {
      return absl::FailedPreconditionError(absl::StrCat("column ", column.name, " is of type ", column.type, "; expected a text"));
    }
    if (column.name != to_) continue;
    if (column.type != "bigint" || column.generated || column.not_null) {
      return absl::FailedPreconditionError(
          absl::StrCat("column ", column.name, " is ", column.generated ? "generated, " : column.not_null ? "NOT NULL, " : "", column.type,
                       "; expected a bigint that may be NULL and is not generated"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::int64_t> SimHashText::RunSubBatch(NativeBatch& batch) const {
  absl::StatusOr<std::vector<NativeRow>> rows = batch.Select({from_});
  if (!rows.ok()) return rows.status();
  for (NativeRow& row : *rows) {
    // Long texts take their time.
    if (!batch.MayGoOn()) return absl::CancelledError("told to stop");
    std::optional<std::string>& text = row.back();
    text = absl::StrCat(static_cast<std::int64_t>(SimHash(text.value_or(""), words_)));
  }
  return batch.Update({to_}, *rows);
}

}  // namespace migrationd
