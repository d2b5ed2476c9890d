// The server's certificate, its key and the authority of its clients, read from files that may be replaced at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace migrationd {

struct CertificateFiles {
  std::string certificate;  // PEM: the server's, then its chain
  std::string key;          // PEM, without a pass phrase
  std::string client_ca;    // PEM; empty: clients need no certificate
};

// As they are in the files.
struct CertificateTexts {
  std::string certificate;
  std::string key;
  std::string client_ca;

  bool operator==(const CertificateTexts&) const = default;
};

// What belongs together, checked.
struct CertificateSet {
  std::uint64_t generation = 0;
  CertificateTexts texts;
  absl::Time not_after = absl::InfinitePast();  // of the server's certificate
};

// INVALID_ARGUMENT naming the file: no PEM, a block of it that is damaged or without its end, something behind the last one, a chain in
// which a certificate is not issued by the next, a key that does not belong to the certificate, a certificate that is over at `now` or not
// valid yet. Errors of ReadFileText (file_text.h): it cannot be read. Messages hold nothing of the key.
absl::StatusOr<CertificateSet> ReadCertificates(const CertificateFiles& files, absl::Time now);

// The last set that was right. Thread-safe.
class ServerCertificates {
 public:
  // Errors of ReadCertificates.
  static absl::StatusOr<std::unique_ptr<ServerCertificates>> Open(CertificateFiles files);

  std::shared_ptr<const CertificateSet> Get() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Reads the files; a set that is right, new, and the same as at the last call (so nobody is writing it) is used by the next connection,
  // without a restart. A bad one (half of a pair was replaced, garbage) is logged and changes nothing: the earlier one stays in use.
  void Refresh() ABSL_LOCKS_EXCLUDED(mutex_);

  // Sets taken over, and refused, since Open.
  std::int64_t reloads() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::int64_t refusals() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The files as they are now cannot be used: an earlier set is in use, or the current one is over.
  bool refused() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  explicit ServerCertificates(CertificateFiles files) : files_(std::move(files)) {}

  const CertificateFiles files_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const CertificateSet> current_ ABSL_GUARDED_BY(mutex_);
  absl::StatusOr<CertificateTexts> seen_ ABSL_GUARDED_BY(mutex_);  // by the last Refresh
  std::string refused_ ABSL_GUARDED_BY(mutex_);  // why the files cannot be used now; empty: they can
  std::int64_t reloads_ ABSL_GUARDED_BY(mutex_) = 0;
  std::int64_t refusals_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace migrationd
