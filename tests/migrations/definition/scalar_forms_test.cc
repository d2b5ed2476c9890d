#include "migrations/definition/scalar_forms.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/text_rules.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

TEST(DurationText, IsReadExactly) {
  const std::vector<std::pair<std::string, std::int64_t>> forms = {{"250ms", 250'000'000},
                                                                   {"2s", 2'000'000'000},
                                                                   {"10m", 600'000'000'000},
                                                                   {"168h", 604'800'000'000'000},
                                                                   {"7d", 604'800'000'000'000},
                                                                   {"1w", 604'800'000'000'000},
                                                                   {"0s", 0},
                                                                   {"0.5s", 500'000'000},
                                                                   {"0.000001ms", 1},
                                                                   {"36500d", kLongestDurationNanoseconds}};
  for (const auto& [text, nanoseconds] : forms) {
    MD_ASSERT_OK_AND_ASSIGN(const std::int64_t read, ParseDurationText(text));
    EXPECT_EQ(read, nanoseconds) << text;
    MD_ASSERT_OK_AND_ASSIGN(const std::int64_t again, ParseDurationText(DurationText(nanoseconds)));
    EXPECT_EQ(again, nanoseconds) << DurationText(nanoseconds);
  }
  EXPECT_EQ(DurationText(604'800'000'000'000), "1w");
  EXPECT_EQ(DurationText(90'000'000'000), "90s");
}

TEST(DurationText, OfAnotherFormIsRefused) {
  for (const char* text : {"", "5", "s", "5 s", "5S", "+5s", "-5s", "1h30m", ".5s", "5.s", "5us", "1e3s", "0.0000001ms",
                           "36501d", "999999999999999999999999s", "0.1234567891s"}) {
    EXPECT_THAT(ParseDurationText(text), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_)) << text;
  }
}

TEST(SizeText, IsReadExactly) {
  const std::vector<std::pair<std::string, std::int64_t>> forms = {
      {"20GiB", std::int64_t{20} << 30}, {"1KiB", 1024}, {"7", 7}, {"7B", 7}, {"3TiB", std::int64_t{3} << 40}};
  for (const auto& [text, bytes] : forms) {
    MD_ASSERT_OK_AND_ASSIGN(const std::int64_t read, ParseSizeText(text));
    EXPECT_EQ(read, bytes) << text;
    MD_ASSERT_OK_AND_ASSIGN(const std::int64_t again, ParseSizeText(SizeText(bytes)));
    EXPECT_EQ(again, bytes);
  }
  for (const char* text : {"", "GiB", "20GB", "20 GiB", "-1B", "1.5GiB", "9999999999TiB", "99999999999999999999B"}) {
    EXPECT_THAT(ParseSizeText(text), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_)) << text;
  }
}

TEST(DecimalText, ComesBackAsItWas) {
  for (const double value : {0.1, 1.0 / 3, 1e-300, 0.0, 1.0}) {
    MD_ASSERT_OK_AND_ASSIGN(const double read, ParseDecimal(DecimalText(value)));
    EXPECT_EQ(read, value);
  }
  for (const char* text : {"", "nan", "inf", "0x1", "1,5", "1.5x", " 1", "1e999"}) {
    EXPECT_THAT(ParseDecimal(text), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_)) << text;
  }
}

TEST(Utf8, IllFormedBytesAreFound) {
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\u20ac\U0001F600"), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("ab\xff"), 2u);
  EXPECT_EQ(FindInvalidUtf8("\xc0\x80"), 0u);      // overlong
  EXPECT_EQ(FindInvalidUtf8("\xed\xa0\x80"), 0u);  // a surrogate
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);
  EXPECT_EQ(FindInvalidUtf8("x\xe2\x82"), 1u);  // cut
}

TEST(Shown, KeepsMessagesOnOneShortLine) {
  EXPECT_EQ(Shown("a\nb\xff"), "a?b?");
  EXPECT_LT(Shown(std::string(1000, 'x')).size(), 70u);
}

}  // namespace
}  // namespace migrationd
