#include "client/cli/table.h"

#include <algorithm>

#include "client/cli/text.h"

namespace migrationctl {

Table::Table(std::vector<std::string> header) { rows_.emplace_back(header.begin(), header.end()); }

void Table::AddRow(std::vector<Cell> cells) {
  for (Cell& cell : cells) cell.text = cell.text.empty() ? "-" : Printable(cell.text);
  cells.resize(rows_.front().size(), Cell("-"));
  rows_.push_back(std::move(cells));
}

void Table::Print(std::ostream& out, const Terminal& terminal) const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i].text));
  }
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out << Styled(row[i].text, row[i].style, terminal);
      if (i + 1 < row.size()) out << std::string(widths[i] - DisplayWidth(row[i].text) + 2, ' ');
    }
    out << '\n';
  }
}

}  // namespace migrationctl
