#include "server/targets/postgres/stop_signal.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"

namespace migrationd {

absl::StatusOr<std::unique_ptr<StopSignal>> StopSignal::Make(const std::stop_token& token) {
  if (!token.stop_possible()) return nullptr;
  const int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) {
    // Like a connection that cannot be made: it says nothing of the statement, and goes over.
    return DatabaseError("", absl::StrCat("cannot connect: no descriptor is left: ", std::strerror(errno)));
  }
  return std::unique_ptr<StopSignal>(new StopSignal(descriptor, token));
}

StopSignal::Descriptor::~Descriptor() { close(number); }

void StopSignal::Raise::operator()() const { eventfd_write(descriptor, 1); }

}  // namespace migrationd
