#include "migrations/model/reading.h"

#include "gtest/gtest.h"

namespace migrationd {
namespace {

constexpr double kMiB = 1024.0 * 1024;

TEST(FormatQuantity, IsReadable) {
  EXPECT_EQ(FormatQuantity(31.2, "s"), "31.2 s");
  EXPECT_EQ(FormatQuantity(256.0 * kMiB, "bytes"), "256 MiB");
  EXPECT_EQ(FormatQuantity(1.5 * kMiB, "bytes/s"), "1.5 MiB/s");
  EXPECT_EQ(FormatQuantity(12, "bytes"), "12 B");
  EXPECT_EQ(FormatQuantity(0.123456, ""), "0.123");
  EXPECT_EQ(FormatQuantity(123456, "s"), "123456 s");
  EXPECT_EQ(FormatQuantity(40, "files"), "40 files");
}

TEST(FormatQuantity, HasNoExponents) {
  EXPECT_EQ(FormatQuantity(1020 * kMiB, "bytes"), "1020 MiB");
  EXPECT_EQ(FormatQuantity(999.7, "s"), "1000 s");
}

}  // namespace
}  // namespace migrationd
