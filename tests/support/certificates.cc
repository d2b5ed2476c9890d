#include "tests/support/certificates.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <iostream>

namespace migrationd {
namespace {

void Must(bool ok, const char* what) {
  if (ok) return;
  std::cerr << "test support: " << what << " failed\n";
  std::abort();
}

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

std::string Pem(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  Must(PEM_write_bio_X509(bio, certificate) == 1, "PEM_write_bio_X509");
  return Text(bio);
}

std::string Pem(EVP_PKEY* key) {
  BIO* bio = BIO_new(BIO_s_mem());
  Must(PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr) == 1, "PEM_write_bio_PrivateKey");
  return Text(bio);
}

void Extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  Must(extension != nullptr, value.c_str());
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* MakeCertificate(const std::string& name, EVP_PKEY* key, absl::Duration valid) {
  static long serial = 1;
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -7200);
  X509_gmtime_adj(X509_getm_notAfter(certificate), static_cast<long>(absl::ToInt64Seconds(valid)));
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1,
                             -1, 0);
  return certificate;
}

}  // namespace

struct TestAuthority::Keys {
  X509* certificate = nullptr;
  EVP_PKEY* key = nullptr;
};

TestAuthority::TestAuthority(const std::string& name) : keys_(std::make_unique<Keys>()) {
  keys_->key = EVP_EC_gen("P-256");
  Must(keys_->key != nullptr, "EVP_EC_gen");
  keys_->certificate = MakeCertificate(name, keys_->key, absl::Hours(48));
  X509_set_issuer_name(keys_->certificate, X509_get_subject_name(keys_->certificate));
  Extend(keys_->certificate, keys_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  Extend(keys_->certificate, keys_->certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  Must(X509_sign(keys_->certificate, keys_->key, EVP_sha256()) > 0, "X509_sign");
  certificate_ = Pem(keys_->certificate);
}

TestAuthority::~TestAuthority() {
  X509_free(keys_->certificate);
  EVP_PKEY_free(keys_->key);
}

IssuedCertificate TestAuthority::Issue(const std::string& name, const std::string& san, absl::Duration valid) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  Must(key != nullptr, "EVP_EC_gen");
  X509* certificate = MakeCertificate(name, key, valid);
  X509_set_issuer_name(certificate, X509_get_subject_name(keys_->certificate));
  if (!san.empty()) Extend(certificate, keys_->certificate, NID_subject_alt_name, san);
  Must(X509_sign(certificate, keys_->key, EVP_sha256()) > 0, "X509_sign");
  IssuedCertificate issued{Pem(certificate), Pem(key)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return issued;
}

}  // namespace migrationd
