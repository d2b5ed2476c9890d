// Certificates and credentials whose files are seen while they are being written: what is half there changes nothing.
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/credential_file.h"
#include "server/rpc/server_certificates.h"
#include "tests/support/certificates.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// SHA-256 of "secret-1".
constexpr char kEntry[] = "sha256:f7e7c36e458e80e6b6a2c67d0a9ec09bd718dadd7bfa8d6bf6e7ad526e46c2f7 deploy operator";

class IdentityFilesTest : public ::testing::Test {
 protected:
  IdentityFilesTest() {
    folder_ = fs::temp_directory_path() / absl::StrCat("migrationd-files-", getpid(), "-", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  ~IdentityFilesTest() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  // In place: what a reader may see at any moment of it.
  void Write(const std::string& name, const std::string& text) { std::ofstream(Path(name), std::ios::trunc | std::ios::binary) << text; }

  std::unique_ptr<CredentialFile> OpenTokens(const std::string& text) {
    Write("tokens", text);
    auto opened = CredentialFile::Open(Path("tokens"));
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  std::unique_ptr<ServerCertificates> OpenCertificates(const IssuedCertificate& issued, bool mutual = false) {
    Write("tls.crt", issued.certificate);
    Write("tls.key", issued.key);
    Write("ca.crt", authority_.certificate());
    auto opened = ServerCertificates::Open({Path("tls.crt"), Path("tls.key"), mutual ? Path("ca.crt") : ""});
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  // As often as it takes for a file that stays as it is. What was logged meanwhile.
  template <typename File>
  static std::string Settle(File& file) {
    ::testing::internal::CaptureStderr();
    for (int poll = 0; poll < 3; ++poll) file.Refresh();
    return ::testing::internal::GetCapturedStderr();
  }

  fs::path folder_;
  const TestAuthority authority_{"first"};
};

TEST_F(IdentityFilesTest, ALineWithoutItsEndIsNotBelieved) {
  EXPECT_THAT(ParseCredentials("tokens", kEntry), StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("tokens:1"), HasSubstr("newline"))));
  EXPECT_THAT(ParseCredentials("tokens", absl::StrCat("# who\n", kEntry, " ma")),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("tokens:2"), Not(HasSubstr("f7e7")))));
  EXPECT_TRUE(ParseCredentials("tokens", absl::StrCat(kEntry, "\n")).ok());
  EXPECT_TRUE(ParseCredentials("tokens", "").ok()) << "nobody, from the start";
}

TEST_F(IdentityFilesTest, ACredentialThatIsCutBeforeItsTargetsDoesNotBecomeOneForAll) {
  const auto file = OpenTokens(absl::StrCat(kEntry, " main billing\n"));
  Write("tokens", kEntry);
  EXPECT_THAT(Settle(*file), HasSubstr("credentials_refused"));
  ASSERT_EQ(file->Get()->size(), 1U);
  EXPECT_EQ(file->Get()->front().targets, (std::set<std::string>{"main", "billing"}));
}

TEST_F(IdentityFilesTest, AnEmptyFileTakesNothingBackAndOneOfCommentsTakesBackAll) {
  const auto file = OpenTokens(absl::StrCat(kEntry, "\n"));
  for (const char* nothing : {"", "\n", " \n\t\n"}) {
    Write("tokens", nothing);
    const std::string log = Settle(*file);
    EXPECT_EQ(file->Get()->size(), 1U);
    if (*nothing == '\0') EXPECT_THAT(log, AllOf(HasSubstr("credentials_refused"), HasSubstr("comment")));
  }
  Write("tokens", "# nobody any more\n");
  EXPECT_THAT(Settle(*file), HasSubstr("entries=0"));
  EXPECT_EQ(file->Get()->size(), 0U);
  Write("tokens", "");
  EXPECT_THAT(Settle(*file), Not(HasSubstr("credentials_refused"))) << "there is nothing to lose any more";
}

TEST_F(IdentityFilesTest, CredentialsAreTakenOverWhenTheyWereSeenTwice) {
  const auto file = OpenTokens(absl::StrCat(kEntry, "\n"));
  Write("tokens", absl::StrCat(kEntry, " main\n"));
  file->Refresh();
  EXPECT_FALSE(file->Get()->front().targets.has_value()) << "it may be half written";
  Write("tokens", absl::StrCat(kEntry, " main\ncert:sre sre admin\n"));
  file->Refresh();
  EXPECT_EQ(file->Get()->size(), 1U) << "it still changes";
  file->Refresh();
  EXPECT_EQ(file->Get()->size(), 2U);
}

TEST_F(IdentityFilesTest, CredentialsThatAreRightAgainAreLoggedAlsoWhenTheyAreTheOldOnes) {
  const auto file = OpenTokens(absl::StrCat(kEntry, "\n"));
  Write("tokens", "garbage\n");
  EXPECT_FALSE(file->refused());
  EXPECT_THAT(Settle(*file), HasSubstr("credentials_refused"));
  EXPECT_TRUE(file->refused());
  Write("tokens", absl::StrCat(kEntry, "\n"));
  EXPECT_THAT(Settle(*file), HasSubstr("credentials_read"));
  EXPECT_FALSE(file->refused());
  Write("tokens", "garbage\n");
  EXPECT_THAT(Settle(*file), HasSubstr("credentials_refused")) << "again";
}

TEST_F(IdentityFilesTest, TargetsThatHoldNobodyBackAreWarnedOf) {
  Write("tokens", absl::StrCat(kEntry, " main\ncert:a a viewer billing\ncert:b b viewer\n"));
  const auto opened_with = [&](Role anonymous) {
    ::testing::internal::CaptureStderr();
    EXPECT_TRUE(CredentialFile::Open(Path("tokens"), anonymous).ok());
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(opened_with(Role::kNone), "");
  EXPECT_THAT(opened_with(Role::kViewer), AllOf(HasSubstr("scope_without_effect"), HasSubstr("entries=2"), HasSubstr("--anonymous-role none")));
  Write("tokens", "cert:b b viewer\n");
  EXPECT_EQ(opened_with(Role::kAdmin), "");
  auto file = CredentialFile::Open(Path("tokens"), Role::kAdmin);
  ASSERT_TRUE(file.ok());
  Write("tokens", "cert:b b viewer main\n");
  EXPECT_THAT(Settle(**file), AllOf(HasSubstr("credentials_read"), HasSubstr("scope_without_effect"), HasSubstr("entries=1")));
}

TEST_F(IdentityFilesTest, FilesThatAreAbsentOrWrongAreNotFoundOrInvalid) {
  EXPECT_THAT(CredentialFile::Open(Path("absent")).status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
  EXPECT_THAT(CredentialFile::Open(folder_.string()).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("directory")));
  Write("tokens", "x");
  EXPECT_THAT(CredentialFile::Open(Path("tokens")).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens:1")));
}

TEST_F(IdentityFilesTest, CertificatesAreTakenOverWhenTheyWereSeenTwice) {
  const auto certificates = OpenCertificates(authority_.Issue("migrationd", "DNS:localhost"));
  const IssuedCertificate next = authority_.Issue("migrationd", "DNS:localhost");
  Write("tls.crt", next.certificate);
  certificates->Refresh();
  Write("tls.key", next.key);
  certificates->Refresh();
  EXPECT_EQ(certificates->reloads(), 0) << "it may be half written";
  certificates->Refresh();
  EXPECT_EQ(certificates->reloads(), 1);
  EXPECT_EQ(certificates->refusals(), 0) << "the moment between the two files is no fault";
}

TEST_F(IdentityFilesTest, CertificatesThatAreRightAgainAreLoggedAlsoWhenTheyAreTheOldOnes) {
  const IssuedCertificate issued = authority_.Issue("migrationd", "DNS:localhost");
  const auto certificates = OpenCertificates(issued);
  Write("tls.crt", "garbage");
  EXPECT_FALSE(certificates->refused());
  EXPECT_THAT(Settle(*certificates), HasSubstr("certificate_refused"));
  EXPECT_TRUE(certificates->refused());
  Write("tls.crt", issued.certificate);
  EXPECT_THAT(Settle(*certificates), HasSubstr("certificate_read"));
  EXPECT_FALSE(certificates->refused());
  EXPECT_EQ(certificates->reloads(), 0) << "nothing new";
}

TEST_F(IdentityFilesTest, AChainIsReadToItsEnd) {
  const IssuedCertificate issued = authority_.Issue("migrationd", "DNS:localhost");
  const auto certificates = OpenCertificates(issued, /*mutual=*/true);
  const std::string whole = absl::StrCat(issued.certificate, authority_.certificate());
  const std::string damaged = [&] {
    std::string text = whole;
    text[issued.certificate.size() + 100] = text[issued.certificate.size() + 100] == 'A' ? 'B' : 'A';
    return text;
  }();
  struct Row {
    const char* file;
    std::string text;
    const char* why;
  };
  const std::vector<Row> rows = {
      {"tls.crt", whole.substr(0, whole.size() - 40), "END"},
      {"tls.crt", whole.substr(0, issued.certificate.size() + 10), "BEGIN"},
      {"tls.crt", whole.substr(0, issued.certificate.size() + 300), "END"},
      {"tls.crt", absl::StrCat(whole, "MIIB\n"), "after the last"},
      {"tls.crt", absl::StrCat(issued.certificate, TestAuthority("another").certificate()), "is not issued by the next"},
      {"tls.crt", absl::StrCat(issued.certificate, issued.certificate), "is not issued by the next"},
      {"ca.crt", authority_.certificate().substr(0, 200), "END"},
      {"ca.crt", absl::StrCat(authority_.certificate(), "-----BEGIN CERTIFICATE-----\n"), "END"},
      {"ca.crt", absl::StrCat(authority_.certificate(), authority_.certificate().substr(28)), "BEGIN"},
      {"ca.crt", "", "no certificate"},
  };
  for (const Row& row : rows) {
    Write("tls.crt", whole);
    Write("ca.crt", authority_.certificate());
    Settle(*certificates);
    const std::int64_t reloads = certificates->reloads();
    Write(row.file, row.text);
    EXPECT_THAT(Settle(*certificates), AllOf(HasSubstr("certificate_refused"), HasSubstr(row.file), HasSubstr(row.why))) << row.text;
    EXPECT_EQ(certificates->reloads(), reloads) << row.why;
  }
  Write("tls.crt", damaged);
  Write("ca.crt", authority_.certificate());
  EXPECT_THAT(Settle(*certificates), HasSubstr("certificate_refused"));
}

TEST_F(IdentityFilesTest, WhatPeoplePutAroundCertificatesIsLeftAlone) {
  const IssuedCertificate issued = authority_.Issue("migrationd", "DNS:localhost");
  const auto certificates = OpenCertificates(issued, /*mutual=*/true);
  Write("tls.crt", absl::StrCat("subject=CN = migrationd\n\n", issued.certificate, "\n1 s:CN = first\r\n", authority_.certificate(), "\n", issued.key, "\n"));
  Write("ca.crt", absl::StrCat("# the first\n", authority_.certificate(), "\n# the second\n", TestAuthority("second").certificate()));
  EXPECT_THAT(Settle(*certificates), Not(HasSubstr("refused")));
  EXPECT_EQ(certificates->reloads(), 1);
}

}  // namespace
}  // namespace migrationd
