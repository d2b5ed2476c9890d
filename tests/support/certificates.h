// Certificates for tests: an authority, and what it signs.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace migrationd {

struct IssuedCertificate {
  std::string certificate;  // PEM
  std::string key;          // PEM
};

// P-256 keys, made anew each time. Aborts when OpenSSL fails.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test authority");
  ~TestAuthority();

  // PEM.
  const std::string& certificate() const { return certificate_; }

  // With `name` as common name and, unless `san` is empty, that as subject alternative name ("DNS:localhost", "URI:spiffe://a/b",
  // "IP:127.0.0.1"). Valid from an hour ago for `valid` (negative: it is over).
  IssuedCertificate Issue(const std::string& name, const std::string& san, absl::Duration valid = absl::Hours(24)) const;

 private:
  struct Keys;
  std::unique_ptr<Keys> keys_;
  std::string certificate_;
};

}  // namespace migrationd
