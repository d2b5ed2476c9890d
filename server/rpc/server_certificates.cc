#include "server/rpc/server_certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

// Every certificate of the file, in its order; at least one. Text may stand before each, as tools write it, and other blocks between them;
// but every block has its end, and nothing follows the last: gRPC would serve what it understands of a file that was cut, and leave out the
// rest.
absl::StatusOr<std::vector<Certificate>> Certificates(const std::string& file, const std::string& pem) {
  constexpr absl::string_view kBegin = "-----BEGIN ";
  constexpr absl::string_view kEnd = "-----END ";
  std::vector<Certificate> certificates;
  std::string block;
  std::string label;  // with its dashes; empty: outside of a block
  bool text_since_end = false;
  for (const absl::string_view raw : absl::StrSplit(pem, '\n')) {
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty()) continue;
    if (label.empty()) {
      text_since_end = !absl::StartsWith(line, "-----");
      if (text_since_end) continue;
      if (!absl::StartsWith(line, kBegin)) {
        return Wrong(file, absl::StrCat("is damaged: after ", certificates.size(),
                                        " certificates there is a line of dashes that is no BEGIN of another."));
      }
      label = std::string(line.substr(kBegin.size()));
      block = absl::StrCat(std::string(line), "\n");
      continue;
    }
    absl::StrAppend(&block, std::string(line), "\n");
    if (!absl::StartsWith(line, "-----")) continue;
    if (line != absl::StrCat(std::string(kEnd), label)) break;
    if (label == "CERTIFICATE-----") {
      const Bio bio = Memory(block);
      certificates.emplace_back(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
      if (certificates.back() == nullptr) {
        return Wrong(file, absl::StrCat("is damaged: certificate ", certificates.size(), " in it cannot be decoded."));
      }
    }
    label.clear();
  }
  if (!label.empty()) return Wrong(file, absl::StrCat("is cut: after ", certificates.size(), " certificates there is a BEGIN without its END."));
  if (certificates.empty()) return Wrong(file, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----).");
  if (text_since_end) return Wrong(file, "holds something after the last certificate; expected nothing, so that a file that was cut is noticed.");
  return certificates;
}

// The file's own certificate first, then who issued it, and so on.
absl::StatusOr<Certificate> FirstOfChain(const std::string& file, const std::string& pem) {
  MD_ASSIGN_OR_RETURN(std::vector<Certificate> chain, Certificates(file, pem));
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
    X509* const issuer = chain[i + 1].get();
    const bool issued = X509_check_issued(issuer, chain[i].get()) == X509_V_OK && X509_verify(chain[i].get(), X509_get0_pubkey(issuer)) == 1;
    if (!issued) {
      return Wrong(file, absl::StrCat("certificate ", i + 1,
                                      " in it is not issued by the next; expected the server's, then its chain in order."));
    }
  }
  // One that ends with the authority itself: nothing else would notice damage to it.
  X509* const last = chain.back().get();
  if (X509_check_issued(last, last) == X509_V_OK && X509_verify(last, X509_get0_pubkey(last)) != 1) {
    return Wrong(file, absl::StrCat("is damaged: the signature of certificate ", chain.size(), " in it is not right."));
  }
  return std::move(chain.front());
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

absl::StatusOr<CertificateTexts> ReadTexts(const CertificateFiles& files) {
  CertificateTexts texts;
  MD_ASSIGN_OR_RETURN(texts.certificate, ReadFileText(files.certificate));
  MD_ASSIGN_OR_RETURN(texts.key, ReadFileText(files.key));
  if (!files.client_ca.empty()) {
    MD_ASSIGN_OR_RETURN(texts.client_ca, ReadFileText(files.client_ca));
  }
  return texts;
}

absl::StatusOr<CertificateSet> Check(const CertificateFiles& files, const absl::StatusOr<CertificateTexts>& texts, absl::Time now) {
  CertificateSet set;
  MD_ASSIGN_OR_RETURN(set.texts, texts);
  if (!files.client_ca.empty()) MD_RETURN_IF_ERROR(Certificates(files.client_ca, set.texts.client_ca).status());
  MD_ASSIGN_OR_RETURN(const Certificate certificate, FirstOfChain(files.certificate, set.texts.certificate));
  MD_ASSIGN_OR_RETURN(const PrivateKey key, ReadKey(files.key, set.texts.key));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Wrong(files.key, absl::StrCat("is not the key of the certificate in ", files.certificate, "."));
  }
  set.not_after = TimeOf(X509_get0_notAfter(certificate.get()));
  if (set.not_after <= now) return Wrong(files.certificate, absl::StrCat("was valid until ", Text(set.not_after), " only."));
  const absl::Time not_before = TimeOf(X509_get0_notBefore(certificate.get()));
  if (not_before > now) return Wrong(files.certificate, absl::StrCat("is valid from ", Text(not_before), " on only."));
  return set;
}

}  // namespace

absl::StatusOr<CertificateSet> ReadCertificates(const CertificateFiles& files, absl::Time now) { return Check(files, ReadTexts(files), now); }

absl::StatusOr<std::unique_ptr<ServerCertificates>> ServerCertificates::Open(CertificateFiles files) {
  MD_ASSIGN_OR_RETURN(CertificateSet set, ReadCertificates(files, WallTime()));
  set.generation = 1;
  std::unique_ptr<ServerCertificates> certificates(new ServerCertificates(std::move(files)));
  absl::MutexLock lock(&certificates->mutex_);
  certificates->seen_ = set.texts;
  certificates->current_ = std::make_shared<const CertificateSet>(std::move(set));
  return certificates;
}

std::shared_ptr<const CertificateSet> ServerCertificates::Get() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

void ServerCertificates::Refresh() {
  absl::StatusOr<CertificateTexts> texts = ReadTexts(files_);
  absl::MutexLock lock(&mutex_);
  const bool again = texts == seen_;
  seen_ = std::move(texts);
  if (!again) return;
  absl::StatusOr<CertificateSet> read = Check(files_, seen_, WallTime());
  if (!read.ok()) {
    const std::string why(read.status().message());
    if (why == refused_) return;
    refused_ = why;
    ++refusals_;
    Log(LogLevel::kError, "certificate_refused", {{"why", why}, {"effect", "the earlier one stays in use"}});
    return;
  }
  const bool is_new = read->texts != current_->texts;
  if (!is_new && refused_.empty()) return;
  refused_.clear();
  Log(LogLevel::kInfo, "certificate_read", {{"file", files_.certificate}, {"not_after", Text(read->not_after)}, {"new", is_new ? "yes" : "no"}});
  if (!is_new) return;
  ++reloads_;
  read->generation = current_->generation + 1;
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

bool ServerCertificates::refused() const {
  absl::MutexLock lock(&mutex_);
  return !refused_.empty();
}

}  // namespace migrationd
