#include "server/rpc/server_certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/observability/log.h"
#include "server/rpc/file_text.h"

namespace migrationd {
namespace {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

absl::Status Wrong(const std::string& file, const std::string& message) {
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", message));
}

Bio Memory(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

absl::StatusOr<Certificate> FirstCertificate(const std::string& file, const std::string& pem) {
  const Bio bio = Memory(pem);
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return Wrong(file, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----).");
  return certificate;
}

// A key with a pass phrase must not make the process ask for it.
int NoPassPhrase(char*, int, int, void*) { return 0; }

absl::StatusOr<PrivateKey> ReadKey(const std::string& file, const std::string& pem) {
  const Bio bio = Memory(pem);
  PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassPhrase, nullptr));
  if (key == nullptr) return Wrong(file, "holds no private key in PEM form, or one with a pass phrase.");
  return key;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string Text(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", time, absl::UTCTimeZone()); }

}  // namespace

absl::StatusOr<CertificateSet> ReadCertificates(const CertificateFiles& files, absl::Time now) {
  CertificateSet set;
  MD_ASSIGN_OR_RETURN(set.certificate, ReadFileText(files.certificate));
  MD_ASSIGN_OR_RETURN(set.key, ReadFileText(files.key));
  if (!files.client_ca.empty()) {
    MD_ASSIGN_OR_RETURN(set.client_ca, ReadFileText(files.client_ca));
    MD_RETURN_IF_ERROR(FirstCertificate(files.client_ca, set.client_ca).status());
  }
  MD_ASSIGN_OR_RETURN(const Certificate certificate, FirstCertificate(files.certificate, set.certificate));
  MD_ASSIGN_OR_RETURN(const PrivateKey key, ReadKey(files.key, set.key));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Wrong(files.key, absl::StrCat("is not the key of the certificate in ", files.certificate, "."));
  }
  set.not_after = TimeOf(X509_get0_notAfter(certificate.get()));
  if (set.not_after <= now) return Wrong(files.certificate, absl::StrCat("was valid until ", Text(set.not_after), " only."));
  const absl::Time not_before = TimeOf(X509_get0_notBefore(certificate.get()));
  if (not_before > now) return Wrong(files.certificate, absl::StrCat("is valid from ", Text(not_before), " on only."));
  return set;
}

absl::StatusOr<std::unique_ptr<ServerCertificates>> ServerCertificates::Open(CertificateFiles files) {
  MD_ASSIGN_OR_RETURN(CertificateSet set, ReadCertificates(files, WallTime()));
  set.generation = 1;
  std::unique_ptr<ServerCertificates> certificates(new ServerCertificates(std::move(files)));
  absl::MutexLock lock(&certificates->mutex_);
  certificates->current_ = std::make_shared<const CertificateSet>(std::move(set));
  return certificates;
}

std::shared_ptr<const CertificateSet> ServerCertificates::Get() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

void ServerCertificates::Refresh() {
  absl::StatusOr<CertificateSet> read = ReadCertificates(files_, WallTime());
  absl::MutexLock lock(&mutex_);
  if (!read.ok()) {
    const std::string why(read.status().message());
    if (why == refused_) return;
    refused_ = why;
    ++refusals_;
    Log(LogLevel::kError, "certificate_refused", {{"why", why}, {"effect", "the earlier one stays in use"}});
    return;
  }
  refused_.clear();
  if (read->certificate == current_->certificate && read->key == current_->key && read->client_ca == current_->client_ca) return;
  read->generation = current_->generation + 1;
  ++reloads_;
  Log(LogLevel::kInfo, "certificate_read", {{"file", files_.certificate}, {"not_after", Text(read->not_after)}});
  current_ = std::make_shared<const CertificateSet>(*std::move(read));
}

std::int64_t ServerCertificates::reloads() const {
  absl::MutexLock lock(&mutex_);
  return reloads_;
}

std::int64_t ServerCertificates::refusals() const {
  absl::MutexLock lock(&mutex_);
  return refusals_;
}

}  // namespace migrationd
