// The update that all ways of doing it do.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace migrationd {

inline constexpr char kUpdateYaml[] = "sql_batch: {table: t, alias: b, statement: 'UPDATE t AS b SET val = length(body) WHERE {{batch}}'}\n";

// Its table, as SQL; ids from 1 without gaps.
inline std::string MakeUpdateTable(std::int64_t rows) {
  return absl::StrCat("CREATE TABLE t (id bigint PRIMARY KEY, body text, val int); INSERT INTO t SELECT i, repeat('x', 20 + i % 20) FROM "
                      "generate_series(1, ",
                      rows, ") AS i");
}

}  // namespace migrationd
