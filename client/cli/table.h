// Columns that stand below each other, whatever script their cells are in.
#pragma once

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/terminal.h"

namespace migrationctl {

struct Cell {
  // Not explicit: most cells are plain text.
  Cell(std::string cell_text, Style cell_style = Style::kPlain)  // NOLINT(google-explicit-constructor)
      : text(std::move(cell_text)), style(cell_style) {}
  Cell(const char* cell_text) : text(cell_text) {}  // NOLINT(google-explicit-constructor)
  std::string text;
  Style style = Style::kPlain;
};

class Table {
 public:
  explicit Table(std::vector<std::string> header);
  // As many cells as the header has. Empty ones are shown as `-`; control characters are escaped.
  void AddRow(std::vector<Cell> cells);
  // Two spaces between columns, none at the ends of lines.
  void Print(std::ostream& out, const Terminal& terminal) const;

 private:
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace migrationctl
