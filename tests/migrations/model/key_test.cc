#include "migrations/model/key.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

void ExpectNormal(KeyType type, const std::string& text, const std::string& normal) {
  const absl::StatusOr<std::string> value = NormalizeKeyValue(type, text);
  MD_ASSERT_OK(value) << text;
  EXPECT_EQ(*value, normal) << text;
  // The fixed form is fixed.
  EXPECT_EQ(*NormalizeKeyValue(type, *value), normal) << text;
}

void ExpectRefused(KeyType type, const std::string& text, const std::string& part) {
  EXPECT_THAT(NormalizeKeyValue(type, text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part))) << text;
}

TEST(KeyType, TypesAreNamedAsPostgresPrintsThem) {
  const std::vector<std::pair<std::string, KeyType>> known = {{"smallint", KeyType::kSmallint},
                                                              {"integer", KeyType::kInteger},
                                                              {"bigint", KeyType::kBigint},
                                                              {"uuid", KeyType::kUuid},
                                                              {"text", KeyType::kText},
                                                              {"character varying", KeyType::kText},
                                                              {"character varying(255)", KeyType::kText},
                                                              {"character(10)", KeyType::kText},
                                                              {"timestamp with time zone", KeyType::kTimestamptz},
                                                              {"timestamp(3) with time zone", KeyType::kTimestamptz}};
  for (const auto& [name, type] : known) EXPECT_EQ(ParseKeyType(name), type) << name;
  for (const char* other :
       {"", "numeric", "\"char\"", "integer[]", "text[]", "character varying(5)[]", "timestamp without time zone",
        "timestamp(3) with time zone[]", "double precision", "date", "characters"}) {
    EXPECT_EQ(ParseKeyType(other), std::nullopt) << other;
  }
  for (const KeyType type : {KeyType::kSmallint, KeyType::kInteger, KeyType::kBigint, KeyType::kUuid, KeyType::kText,
                             KeyType::kTimestamptz}) {
    EXPECT_EQ(ParseKeyType(KeyTypeName(type)), type);
  }
}

TEST(Key, IntegersLoseZerosAndPlusSigns) {
  ExpectNormal(KeyType::kBigint, "0042", "42");
  ExpectNormal(KeyType::kBigint, "+7", "7");
  ExpectNormal(KeyType::kBigint, "-0", "0");
  ExpectNormal(KeyType::kInteger, "-00013", "-13");
}

TEST(Key, IntegersAreCheckedAgainstTheRangeOfTheirType) {
  ExpectNormal(KeyType::kSmallint, "32767", "32767");
  ExpectNormal(KeyType::kSmallint, "-32768", "-32768");
  ExpectRefused(KeyType::kSmallint, "32768", "-32768 to 32767");
  ExpectRefused(KeyType::kSmallint, "-32769", "-32768 to 32767");
  ExpectNormal(KeyType::kInteger, "2147483647", "2147483647");
  ExpectRefused(KeyType::kInteger, "2147483648", "integer");
  ExpectNormal(KeyType::kInteger, "-2147483648", "-2147483648");
  ExpectRefused(KeyType::kInteger, "-2147483649", "integer");
  ExpectNormal(KeyType::kBigint, "9223372036854775807", "9223372036854775807");
  ExpectNormal(KeyType::kBigint, "-9223372036854775808", "-9223372036854775808");
  ExpectRefused(KeyType::kBigint, "9223372036854775808", "bigint");
  ExpectRefused(KeyType::kBigint, "-9223372036854775809", "bigint");
}

TEST(Key, WhatIsNoIntegerIsRefusedWithoutRepeatingTheValue) {
  for (const char* text : {"", "-", "+", "1.0", "1e3", " 1", "1 ", "0x10", "--1", "secret"}) {
    ExpectRefused(KeyType::kBigint, text, "a whole number from");
  }
  EXPECT_THAT(NormalizeKeyValue(KeyType::kBigint, "secret"),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::Not(HasSubstr("secret"))));
}

TEST(Key, UuidsBecomeLowerCaseWithDashes) {
  const std::string normal = "0b0f4f0e-6f4b-4c1e-9f6a-2d3c4b5a6978";
  ExpectNormal(KeyType::kUuid, normal, normal);
  ExpectNormal(KeyType::kUuid, "0B0F4F0E-6F4B-4C1E-9F6A-2D3C4B5A6978", normal);
  ExpectNormal(KeyType::kUuid, "0b0f4f0e6f4b4c1e9f6a2d3c4b5a6978", normal);
  ExpectNormal(KeyType::kUuid, "{0b0f4f0e-6f4b4c1e-9f6a2d3c-4b5a6978}", normal);
  for (const char* text : {"", "{}", "0b0f4f0e-6f4b-4c1e-9f6a-2d3c4b5a697", "0b0f4f0e-6f4b-4c1e-9f6a-2d3c4b5a69789",
                           "0b0f4f0g-6f4b-4c1e-9f6a-2d3c4b5a6978", "0b0f4f0e--6f4b-4c1e-9f6a-2d3c4b5a6978",
                           "-0b0f4f0e6f4b4c1e9f6a2d3c4b5a6978", "0b0f4f0e6f4b4c1e9f6a2d3c4b5a6978-",
                           "{0b0f4f0e6f4b4c1e9f6a2d3c4b5a6978", "0b0-f4f0e6f4b4c1e9f6a2d3c4b5a6978"}) {
    ExpectRefused(KeyType::kUuid, text, "32 hexadecimal digits");
  }
}

TEST(Key, TextStaysAsItIs) {
  for (const std::string text : {"", " a ", "\"quoted\\\"", "{1,2}", "NULL", "zwölf\n"})
    ExpectNormal(KeyType::kText, text, text);
  ExpectRefused(KeyType::kText, std::string("a\0b", 3), "NUL");
}

TEST(Key, TimestampsArePrintedAsPostgresDoesInUtc) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"2026-11-20 09:30:00.123456+00", "2026-11-20 09:30:00.123456+00"},
      {"2026-11-20 09:30:00+00", "2026-11-20 09:30:00+00"},
      {"2026-11-20T09:30:00Z", "2026-11-20 09:30:00+00"},
      {"2026-11-20 09:30+00", "2026-11-20 09:30:00+00"},
      {"2026-11-20 09:30:00.100000+00", "2026-11-20 09:30:00.1+00"},
      {"2026-11-20 09:30:00.000001+00", "2026-11-20 09:30:00.000001+00"},
      {"2026-11-20 09:30:00.12+00:00", "2026-11-20 09:30:00.12+00"},
      {"2026-11-20 09:30:00+05:30", "2026-11-20 04:00:00+00"},
      {"2026-11-20 09:30:00+0530", "2026-11-20 04:00:00+00"},
      {"2026-12-31 23:30:00-01", "2027-01-01 00:30:00+00"},
      {"1880-01-01 00:00:00+00:53:28", "1879-12-31 23:06:32+00"},
      {"2024-02-29 00:00:00+00", "2024-02-29 00:00:00+00"},
      {"0001-01-01 00:00:00+01", "0001-12-31 23:00:00+00 BC"},
      {"0044-03-15 10:00:00+00 BC", "0044-03-15 10:00:00+00 BC"},
      {"1969-12-31 23:59:59.5+00", "1969-12-31 23:59:59.5+00"},
      {"4714-11-24 00:00:00+00 BC", "4714-11-24 00:00:00+00 BC"},
      {"294276-12-31 23:59:59.999999+00", "294276-12-31 23:59:59.999999+00"},
      {"infinity", "infinity"},
      {"-infinity", "-infinity"}};
  for (const auto& [text, normal] : cases) ExpectNormal(KeyType::kTimestamptz, text, normal);
}

TEST(Key, TimestampsWithoutAZoneOrOutsideTheCalendarAreRefused) {
  for (const char* text : {"",
                           "2026-11-20",
                           "2026-11-20 09:30:00",
                           "2026-02-30 00:00:00+00",
                           "2025-02-29 00:00:00+00",
                           "2026-13-01 00:00:00+00",
                           "2026-11-20 24:00:00+00",
                           "2026-11-20 09:60:00+00",
                           "2026-11-20 09:30:60+00",
                           "2026-11-20 09:30:00.1234567+00",
                           "2026-11-20 09:30:00.+00",
                           "2026-11-20 09:30:00+16",
                           "2026-11-20 09:30:00+5",
                           "2026-11-20 09:30:00+05:3",
                           "2026-11-20 09:30:00 Europe/Berlin",
                           "20261120T093000Z",
                           "0000-01-01 00:00:00+00",
                           "294277-01-01 00:00:00+00",
                           "4714-11-23 23:59:59+00 BC",
                           "2026-11-20 09:30:00+00 AD",
                           "2026-11-20 09:30:00+00x",
                           "now"}) {
    ExpectRefused(KeyType::kTimestamptz, text, "ISO form with a zone");
  }
}

TEST(Key, CompositeKeysAreNormalizedColumnByColumn) {
  const std::vector<KeyType> types = {KeyType::kInteger, KeyType::kText};
  EXPECT_EQ(*NormalizeKey(types, {"007", "007"}), (Key{"7", "007"}));
  EXPECT_THAT(NormalizeKey(types, {"7"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 values, but 2 columns")));
  EXPECT_THAT(NormalizeKey({KeyType::kText, KeyType::kInteger}, {"a", "b"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("value 2 of the key")));
}

TEST(Key, IsShownInParentheses) {
  EXPECT_EQ(KeyText({"1", "abc"}), "(1, abc)");
  EXPECT_EQ(KeyText({}), "()");
}

TEST(KeyArray, EveryKeySurvivesTheWayThereAndBack) {
  const std::vector<Key> keys = {{},
                                 {"1"},
                                 {"1", "a b"},
                                 {""},
                                 {"NULL", "null"},
                                 {"\"", "\\", "\\\"", "{", "}", ",", "{1,2}"},
                                 {" lead", "trail ", "\n\t"},
                                 {"2026-11-20 09:30:00.123456+00"}};
  for (const Key& key : keys) EXPECT_EQ(*ParseKeyArray(KeyArray(key)), key) << KeyArray(key);
  EXPECT_EQ(KeyArray({"1", "a b"}), R"({"1","a b"})");
  EXPECT_EQ(KeyArray({R"(a"b\c)"}), R"({"a\"b\\c"})");
  EXPECT_EQ(KeyArray({}), "{}");
}

TEST(KeyArray, WhatPostgresPrintsIsRead) {
  EXPECT_EQ(*ParseKeyArray("{1,2}"), (Key{"1", "2"}));
  EXPECT_EQ(*ParseKeyArray(R"({1,"2026-11-20 09:30:00+00"})"), (Key{"1", "2026-11-20 09:30:00+00"}));
  EXPECT_EQ(*ParseKeyArray(R"({ 1 , "NULL" , a\,b })"), (Key{"1", "NULL", "a,b"}));
  EXPECT_EQ(*ParseKeyArray("{a b}"), (Key{"a b"}));
  EXPECT_EQ(*ParseKeyArray(R"({"a\nb"})"), (Key{"anb"}));
  EXPECT_EQ(*ParseKeyArray("{}"), Key{});
}

TEST(KeyArray, AnythingElseIsRefused) {
  for (const char* literal : {"", "{", "}", "1,2", "{1", "{NULL}", "{1,null}", "{{1},{2}}", "{1,}", "{,1}", "{,}",
                              R"({"a)", R"({"a})", R"({"a"b})", R"({a"b"})", "[0:1]={1,2}", "{1}{2}", R"({a\})"}) {
    EXPECT_THAT(ParseKeyArray(literal), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("array literal")))
        << literal;
  }
}

TEST(Place, IsABlockAndAnOffset) {
  const auto place = ParsePlace("(4294967295,65535)");
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->block, 4294967295);
  EXPECT_EQ(place->offset, 65535);
  for (const char* text : {"", "()", "(1)", "(1,)", "(1,2", "1,2", "(1,2)x", "(-1,2)", "(4294967296,0)", "(0,65536)", " (1,2)"}) {
    EXPECT_FALSE(ParsePlace(text).has_value()) << text;
  }
  EXPECT_EQ(NormalizeKeyValue(KeyType::kTid, "(007,1)").value_or(""), "(7,1)");
  EXPECT_FALSE(NormalizeKeyValue(KeyType::kTid, "7").ok());
  EXPECT_EQ(ParseKeyType("tid"), std::nullopt) << "nobody's column";
}

}  // namespace
}  // namespace migrationd
