#include "migrations/natives/simhash_text.h"

#include <bitset>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;
using Code = absl::StatusCode;

std::size_t Distance(std::uint64_t a, std::uint64_t b) { return std::bitset<64>(a ^ b).count(); }

std::string Article(int changed_word) {
  std::string text;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&text, i == changed_word ? "another" : absl::StrCat("word", i * 7 % 150), " ");
  return text;
}

// Stored fingerprints are compared with new ones: they may never change.
TEST(SimHash, IsWhatItAlwaysWas) {
  const std::vector<std::pair<std::string, std::uint64_t>> known = {
      {"", 0},
      {" .,!\n", 0},
      {"a", 0x17A635E3FA8F420BULL},
      {"The quick brown fox jumps over the lazy dog", 0xAAF9041E7BAEE451ULL},
      {"Ünïcödé ist auch dabei", 0x72670AE09E14C102ULL},
  };
  for (const auto& [text, fingerprint] : known) EXPECT_EQ(SimHash(text, 3), fingerprint) << text;
}

TEST(SimHash, DoesNotSeeCaseSpacesAndPunctuation) {
  EXPECT_EQ(SimHash("To be, or not to be: that...", 3), SimHash("  to BE or\tnot to be -- that", 3));
  EXPECT_NE(SimHash("to be or not to be that", 3), SimHash("that be to not or be to", 3)) << "it sees the order of words";
  EXPECT_NE(SimHash("ab c", 2), SimHash("a bc", 2)) << "and where words end";
}

TEST(SimHash, IsNearForTextsThatAreNearlyTheSameAndFarForOthers) {
  for (const int changed : {0, 57, 199}) EXPECT_LE(Distance(SimHash(Article(-1), 3), SimHash(Article(changed), 3)), 10u) << changed;
  std::string other;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&other, "term", i * 11 % 170, " ");
  EXPECT_GE(Distance(SimHash(Article(-1), 3), SimHash(other, 3)), 20u);
}

TEST(SimHash, TakesTextsShorterThanARun) {
  EXPECT_NE(SimHash("two words", 8), 0u);
  EXPECT_EQ(SimHash("two words", 8), SimHash("two words", 2));
}

NativeRegistry Registry() {
  NativeRegistry natives;
  natives.Add("simhash_text", SimHashText::Make);
  return natives;
}

std::shared_ptr<const NativeMigration> Made(const std::map<std::string, std::string>& more = {}) {
  std::map<std::string, std::string> parameters = {{"table", "articles"}, {"from", "body"}, {"to", "simhash"}};
  parameters.insert(more.begin(), more.end());
  auto made = Registry().Make("simhash_text", parameters);
  EXPECT_THAT(made, IsOk());
  return made.ok() ? *made : nullptr;
}

TEST(SimHashText, ChecksItsParameters) {
  EXPECT_THAT(Registry().Make("simhash_text", {{"table", "t"}}),
              StatusIs(Code::kInvalidArgument, AllOf(HasSubstr("native.parameters.from: is missing"), HasSubstr("native.parameters.to: is missing"))));
  EXPECT_THAT(Registry().Make("simhash_text", {{"table", "t"}, {"from", "a"}, {"to", "a"}}), StatusIs(Code::kInvalidArgument, HasSubstr("same column")));
  for (const char* words : {"0", "9", "three"}) {
    EXPECT_THAT(Registry().Make("simhash_text", {{"table", "t"}, {"from", "a"}, {"to", "b"}, {"words", words}}),
                StatusIs(Code::kInvalidArgument, HasSubstr("native.parameters.words")));
  }
}

TEST(SimHashText, ChecksItsColumns) {
  const auto made = Made();
  const NativeColumn body{"body", "text"};
  MD_EXPECT_OK(made->CheckColumns({body, {"simhash", "bigint"}}));
  MD_EXPECT_OK(made->CheckColumns({{"body", "character varying(20)"}, {"simhash", "bigint"}}));
  EXPECT_THAT(made->CheckColumns({{"body", "jsonb"}, {"simhash", "bigint"}}), StatusIs(Code::kFailedPrecondition, HasSubstr("jsonb")));
  EXPECT_THAT(made->CheckColumns({body, {"simhash", "integer"}}), StatusIs(Code::kFailedPrecondition, HasSubstr("integer")));
  EXPECT_THAT(made->CheckColumns({body, {"simhash", "bigint", true}}), StatusIs(Code::kFailedPrecondition, HasSubstr("NOT NULL")));
  EXPECT_THAT(made->CheckColumns({body, {"simhash", "bigint", false, true}}), StatusIs(Code::kFailedPrecondition, HasSubstr("generated")));
}

// Answers the SELECT, and remembers the UPDATE.
class FakeSession final : public NativeSession {
 public:
  absl::StatusOr<std::vector<NativeRow>> Query(const std::string&, const NativeRow&) override { return rows; }
  absl::StatusOr<std::int64_t> Execute(const std::string&, const NativeRow& values) override {
    stored = values;
    return static_cast<std::int64_t>(rows.size());
  }
  bool MayGoOn() const override { return may_go_on; }

  std::vector<NativeRow> rows;
  NativeRow stored;
  bool may_go_on = true;
};

const NativeBatch::Range kRange = {.table = "\"public\".\"articles\"", .alias = "articles", .key = {"id"}, .rows = "true", .values = {},
                                   .types = {{"id", "bigint"}, {"simhash", "bigint"}}};

TEST(SimHashText, StoresTheFingerprintsAsSignedNumbers) {
  FakeSession session;
  session.rows = {{"7", "The quick brown fox jumps over the lazy dog"}, {"8", ""}};
  NativeBatch batch(session, kRange);
  MD_ASSERT_OK_AND_ASSIGN(const std::int64_t affected, Made()->RunSubBatch(batch));
  EXPECT_EQ(affected, 2);
  EXPECT_THAT(session.stored, ElementsAre(Optional(std::string("{\"7\",\"8\"}")),
                                          Optional(absl::StrCat("{\"", static_cast<std::int64_t>(0xAAF9041E7BAEE451ULL), "\",\"0\"}"))));
}

TEST(SimHashText, StopsWhenItIsToldTo) {
  FakeSession session;
  session.rows = {{"7", "text"}};
  session.may_go_on = false;
  NativeBatch batch(session, kRange);
  EXPECT_THAT(Made()->RunSubBatch(batch), StatusIs(Code::kCancelled, HasSubstr("stop")));
  EXPECT_TRUE(session.stored.empty());
}

}  // namespace
}  // namespace migrationd
