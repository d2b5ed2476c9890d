#include "client/cli/watch_view.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/migration_text.h"
#include "client/cli/quantity.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

// What works or is in trouble first; where not all fit, the end is not shown.
int Rank(const v1::Migration& migration) {
  switch (migration.state()) {
    case v1::STATE_HALTED:
      return 0;
    case v1::STATE_RUNNING:
    case v1::STATE_PAUSING:
    case v1::STATE_CANCELLING:
      return 1;
    case v1::STATE_PAUSED:
      return 2;
    case v1::STATE_PENDING:
      return 3;
    default:
      return 4;
  }
}

}  // namespace

void WatchView::Update(const v1::WatchResponse& response, absl::Time now, const Terminal& terminal) {
  for (const v1::Migration& migration : response.migrations()) shown_[FullName(migration)].migration = migration;
  if (terminal.interactive) {
    for (const std::string& deleted : response.deleted()) shown_.erase(deleted);
    Redraw(now, terminal);
  } else {
    AppendChanges(response, now);
  }
  out_.flush();
}

void WatchView::AppendChanges(const v1::WatchResponse& response, absl::Time now) {
  const std::string at = HumanTime(response.has_as_of() ? FromProto(response.as_of()) : now);
  for (const v1::Migration& migration : response.migrations()) {
    Shown& shown = shown_[FullName(migration)];
    std::string line = ChangeLine(migration);
    if (line == shown.line) continue;
    out_ << at << ' ' << line << '\n';
    shown.line = std::move(line);
  }
  for (const std::string& deleted : response.deleted()) {
    if (shown_.erase(deleted) > 0) out_ << at << ' ' << Printable(deleted) << " deleted\n";
  }
}

void WatchView::Redraw(absl::Time now, const Terminal& terminal) {
  std::vector<const v1::Migration*> migrations;
  std::size_t name_width = 0;
  for (const auto& [name, shown] : shown_) {
    migrations.push_back(&shown.migration);
    name_width = std::max(name_width, DisplayWidth(Printable(name)));
  }
  std::stable_sort(migrations.begin(), migrations.end(),
                   [](const v1::Migration* a, const v1::Migration* b) { return Rank(*a) < Rank(*b); });
  // A drawing higher than the window could not be found again: the cursor does not go above the first row.
  const std::size_t room = std::max<std::size_t>(terminal.rows, 4) - 2;
  const std::size_t count = std::min(migrations.size(), room);
  std::string frame;
  // A window that became smaller since has already lost the upper lines.
  const std::size_t up = std::min(lines_drawn_, room + 1);
  if (up > 0) absl::StrAppend(&frame, "\x1b[", up, "A");
  for (std::size_t i = 0; i < count; ++i) {
    const std::string line = BarLine(*migrations[i], now, std::min<std::size_t>(name_width, 40), terminal.columns - 1);
    absl::StrAppend(&frame, "\r\x1b[2K", Styled(line, StateStyle(migrations[i]->state()), terminal), "\n");
  }
  lines_drawn_ = count;
  if (migrations.size() > count) {
    absl::StrAppend(&frame, "\r\x1b[2K... and ", migrations.size() - count, " more\n");
    ++lines_drawn_;
  }
  // What is left of a longer drawing.
  frame += "\x1b[J";
  out_ << frame;
}

}  // namespace migrationctl
