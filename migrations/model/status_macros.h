// Early return on errors. The Abseil of Debian 12 has none of these.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define MD_CONCAT_INNER(a, b) a##b
#define MD_CONCAT(a, b) MD_CONCAT_INNER(a, b)

// Returns the status of `expression` from the enclosing function unless it is OK.
#define MD_RETURN_IF_ERROR(expression)                            \
  do {                                                            \
    ::absl::Status md_status = (expression);                      \
    if (!md_status.ok()) return md_status;                        \
  } while (false)

// Evaluates `expression`, a StatusOr, once; returns its status on error, otherwise moves the value into `declaration`.
#define MD_ASSIGN_OR_RETURN(declaration, expression) \
  MD_ASSIGN_OR_RETURN_IMPL(MD_CONCAT(md_status_or_, __LINE__), declaration, expression)
#define MD_ASSIGN_OR_RETURN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                                     \
  if (!temporary.ok()) return temporary.status();                    \
  declaration = *std::move(temporary)
