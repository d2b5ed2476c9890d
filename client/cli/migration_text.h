// What a migration looks like to a person. Pure: ages are relative to the time at which the server's answer was true,
// so they are right also when this machine's clock is not; `now` is used only where the server sent no such time.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "migrationcontrol/v1/migration_control.pb.h"

namespace migrationctl {

namespace v1 = migrationcontrol::v1;

// target/name.
std::string FullName(const v1::Migration& migration);
// Enum values without their prefix; `-` for unspecified ones, the number for ones that this program does not know.
std::string StateWord(v1::State state);
std::string PhaseWord(v1::Phase phase);
// Empty for none.
std::string HoldWord(v1::HoldKind kind);
Style StateStyle(v1::State state);

// 63.2%, or the rows done where the fraction is not known.
std::string DoneText(const v1::Migration& migration);
// 1m30s, measuring, stalled ...; empty when there is nothing to expect.
std::string EtaText(const v1::Migration& migration, absl::Time now);
// 2 lanes, rest of 100ms after a batch, at most 20,000 rows/s; set by alice until TIME (in 2h00m).
std::string PaceText(const v1::MigrationPace& pace, absl::Time as_of);
// Why it is not working right now, or stopped; empty when it works.
std::string WhyText(const v1::Migration& migration);

// replica_lag 31 s, limit 30 s (replica standby1); `unknown` where it could not be read.
std::string ReadingText(const v1::Reading& reading);

// The columns of `list`.
std::vector<std::string> ListHeader(bool wide);
std::vector<Cell> ListRow(const v1::Migration& migration, absl::Time now, bool wide);

// One line for a log of changes, without a time.
std::string ChangeLine(const v1::Migration& migration);
// One line with a bar, at most `columns` wide.
std::string BarLine(const v1::Migration& migration, absl::Time now, std::size_t name_width, std::size_t columns);

// Everything, in lines: summary first.
std::string Describe(const v1::StatusResponse& status, absl::Time now, const Terminal& terminal);

// One event on one line.
std::string EventText(const v1::Event& event);

}  // namespace migrationctl
