// What every command has in hand: the global options, where to print, and the client.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/exit_status.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "google/protobuf/message.h"
#include "migrationcontrol/client.h"

namespace migrationctl {

namespace v1 = migrationcontrol::v1;

struct GlobalOptions {
  std::string server = "127.0.0.1:50051";
  bool tls = false;
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
  std::string token_file;
  bool allow_token_without_tls = false;
  OutputFormat output = OutputFormat::kTable;
  std::string target;
  std::map<std::string, std::string> labels;
  std::optional<absl::Duration> timeout;
};

class Session {
 public:
  Session(std::ostream& out, std::ostream& err, const Terminal& terminal) : out_(out), err_(err), terminal_(terminal) {}

  GlobalOptions& options() { return options_; }
  const GlobalOptions& options() const { return options_; }
  std::ostream& out() { return out_; }
  // For what is not the answer itself: notes and warnings. Each is one line.
  void Note(const std::string& note);
  const Terminal& terminal() const { return terminal_; }

  // Calls may take --timeout, or the library's default.
  migrationcontrol::Client& client();
  // For commands whose --timeout is for the wait as a whole: each call has the library's default.
  migrationcontrol::Client& waiting_client();

  // What the user wrote, on the target that --target names. INVALID_ARGUMENT when the two contradict.
  absl::StatusOr<std::string> Named(const std::string& name) const;

  // Of a call: no answer in time is UNAVAILABLE (see exit_status.h).
  absl::Status Explain(const absl::Status& status) const { return NoAnswerIsUnavailable(status); }

  // The message, when the format is for programs; false when a person is to be told.
  bool PrintForPrograms(const google::protobuf::Message& message);
  // The answer to a verb: the message, the name, or one line that says what the migration is doing now.
  void PrintMigration(const google::protobuf::Message& response, const v1::Migration& migration,
                      const std::string& prefix);

 private:
  migrationcontrol::Client& Connect(std::optional<absl::Duration> timeout);

  std::ostream& out_;
  std::ostream& err_;
  const Terminal terminal_;
  GlobalOptions options_;
  std::unique_ptr<migrationcontrol::Client> client_;
};

}  // namespace migrationctl
