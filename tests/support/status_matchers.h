// gMock matchers for absl::Status and StatusOr; the Abseil of Debian 12 has none.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace migrationd {

inline const absl::Status& AsStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << AsStatus(arg).ToString();
  return AsStatus(arg).ok();
}

// StatusIs(code, matcher of the message).
MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << AsStatus(arg).ToString();
  return AsStatus(arg).code() == code &&
         ::testing::Matches(::testing::Matcher<std::string>(message))(std::string(AsStatus(arg).message()));
}

}  // namespace migrationd

#define MD_ASSERT_OK(expression) ASSERT_THAT((expression), ::migrationd::IsOk())
#define MD_EXPECT_OK(expression) EXPECT_THAT((expression), ::migrationd::IsOk())

// Fails the test unless OK; moves the value into `declaration`.
#define MD_ASSERT_OK_AND_ASSIGN(declaration, expression) \
  MD_ASSERT_OK_AND_ASSIGN_IMPL(MD_TEST_CONCAT(md_value_, __LINE__), declaration, expression)
#define MD_TEST_CONCAT_INNER(a, b) a##b
#define MD_TEST_CONCAT(a, b) MD_TEST_CONCAT_INNER(a, b)
#define MD_ASSERT_OK_AND_ASSIGN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                                         \
  ASSERT_THAT(temporary, ::migrationd::IsOk());                          \
  declaration = *std::move(temporary)
