// TLS, client certificates and tokens on a real server: who gets in, as whom, and what a rotation does.
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/certificates.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// "secret-1" is admin of target main, "secret-2" viewer of all.
constexpr char kTokens[] =
    "sha256:f7e7c36e458e80e6b6a2c67d0a9ec09bd718dadd7bfa8d6bf6e7ad526e46c2f7 deploy admin main\n"
    "sha256:f4b6bb6548129dacf11c1a9c4dffffefd4aa6b21fcf4e9754cc03b731cbe7c25 report viewer\n"
    "cert:sre.example.org sre operator\n";

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() {
    folder_ = fs::temp_directory_path() / absl::StrCat("migrationd-identity-", getpid(), "-", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  ~IdentityTest() override { fs::remove_all(folder_); }

  // Through a rename, as whoever rotates files should do it.
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / (name + ".new")) << text;
    fs::rename(folder_ / (name + ".new"), folder_ / name);
  }
  void WriteServer(const IssuedCertificate& issued) {
    Write("tls.crt", issued.certificate);
    Write("tls.key", issued.key);
  }
  // What changed is taken over when it was seen twice.
  template <typename File>
  static void Reload(File& file) {
    file.Refresh();
    file.Refresh();
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  // A server with these files; `mutual`: it demands client certificates of the authority.
  void Start(bool mutual) {
    WriteServer(authority_.Issue("migrationd", "DNS:localhost"));
    Write("ca.crt", authority_.certificate());
    Write("tokens", kTokens);
    auto certificates = ServerCertificates::Open({Path("tls.crt"), Path("tls.key"), mutual ? Path("ca.crt") : ""});
    ASSERT_TRUE(certificates.ok()) << certificates.status();
    certificates_ = *std::move(certificates);
    auto credentials = CredentialFile::Open(Path("tokens"));
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    credentials_ = *std::move(credentials);
    RpcServerOptions options = TestServerOptions();
    options.anonymous_role = Role::kNone;
    options.certificates = certificates_;
    options.credentials = credentials_.get();
    world_ = std::make_unique<RpcWorld>(options);
    world_->Add("one");
  }

  // A new connection each time.
  grpc::Status List(const std::shared_ptr<grpc::ChannelCredentials>& transport, const std::string& token = "", v1::ListResponse* response = nullptr) {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto stub = v1::MigrationControl::NewStub(
        grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", world_->server.port()), transport, arguments));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    v1::ListResponse ignored;
    return stub->List(&context, v1::ListRequest(), response == nullptr ? &ignored : response);
  }
  std::shared_ptr<grpc::ChannelCredentials> Tls(const TestAuthority& trusted, const IssuedCertificate& own = {}) {
    return grpc::SslCredentials({trusted.certificate(), own.key, own.certificate});
  }

  fs::path folder_;
  const TestAuthority authority_{"first"};
  std::shared_ptr<ServerCertificates> certificates_;
  std::unique_ptr<CredentialFile> credentials_;
  std::unique_ptr<RpcWorld> world_;
};

TEST_F(IdentityTest, WithTlsATokenTellsWhoCalls) {
  Start(/*mutual=*/false);
  EXPECT_EQ(List(Tls(authority_)).error_code(), grpc::StatusCode::UNAUTHENTICATED) << "no token";
  EXPECT_EQ(List(Tls(authority_), "wrong").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(List(Tls(authority_), "secret-2"), IsGrpcOk());
  EXPECT_EQ(List(Tls(TestAuthority("another")), "secret-2").error_code(), grpc::StatusCode::UNAVAILABLE) << "a server of nobody's";
  EXPECT_EQ(List(grpc::InsecureChannelCredentials(), "secret-2").error_code(), grpc::StatusCode::UNAVAILABLE) << "plain text";
}

TEST_F(IdentityTest, MutualTlsLetsInOnlyCertificatesOfTheAuthority) {
  Start(/*mutual=*/true);
  EXPECT_EQ(List(Tls(authority_)).error_code(), grpc::StatusCode::UNAVAILABLE) << "no certificate";
  const TestAuthority another("another");
  EXPECT_EQ(List(Tls(authority_, another.Issue("sre", "DNS:sre.example.org"))).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(List(Tls(authority_, authority_.Issue("sre", "DNS:sre.example.org", -absl::Minutes(5)))).error_code(), grpc::StatusCode::UNAVAILABLE)
      << "a certificate that is over";
  EXPECT_THAT(List(Tls(authority_, authority_.Issue("x", "DNS:sre.example.org"))), IsGrpcOk());
  EXPECT_EQ(List(Tls(authority_, authority_.Issue("sre.example.org", "DNS:other.example.org"))).error_code(), grpc::StatusCode::UNAUTHENTICATED)
      << "where there are alternative names, the common name says nothing";
  EXPECT_THAT(List(Tls(authority_, authority_.Issue("sre.example.org", ""))), IsGrpcOk());
}

TEST_F(IdentityTest, EventsSayWhoItWas) {
  Start(/*mutual=*/false);
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("localhost");
  auto stub = v1::MigrationControl::NewStub(
      grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", world_->server.port()), Tls(authority_), arguments));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer secret-1");
  v1::PauseResponse response;
  ASSERT_THAT(stub->Pause(&context, Naming<v1::PauseRequest>("one"), &response), IsGrpcOk());
  EXPECT_EQ(response.migration().intent().actor(), "deploy@ipv4:127.0.0.1");
}

TEST_F(IdentityTest, ARotatedCertificateIsUsedByTheNextConnectionAndABadOneIsNot) {
  Start(/*mutual=*/true);
  const IssuedCertificate client = authority_.Issue("x", "DNS:sre.example.org");
  ASSERT_THAT(List(Tls(authority_, client)), IsGrpcOk());

  Write("tls.key", authority_.Issue("migrationd", "DNS:localhost").key);  // half of a pair
  Reload(*certificates_);
  EXPECT_THAT(List(Tls(authority_, client)), IsGrpcOk()) << "the earlier pair stays in use";
  Write("tls.crt", "garbage");
  Reload(*certificates_);
  fs::remove(Path("tls.crt"));
  Reload(*certificates_);
  EXPECT_THAT(List(Tls(authority_, client)), IsGrpcOk());
  EXPECT_GE(certificates_->refusals(), 2);
  EXPECT_EQ(certificates_->reloads(), 0);

  const TestAuthority second("second");
  WriteServer(second.Issue("migrationd", "DNS:localhost"));
  Write("ca.crt", second.certificate());
  Reload(*certificates_);
  EXPECT_EQ(certificates_->reloads(), 1);
  EXPECT_EQ(List(Tls(authority_, client)).error_code(), grpc::StatusCode::UNAVAILABLE) << "the old authority is over";
  EXPECT_THAT(List(Tls(second, second.Issue("x", "DNS:sre.example.org"))), IsGrpcOk());
}

TEST_F(IdentityTest, ATokenThatWasTakenBackIsRefusedAtOnceAndABrokenFileChangesNothing) {
  Start(/*mutual=*/false);
  Write("tokens", "half a li");
  Reload(*credentials_);
  EXPECT_THAT(List(Tls(authority_), "secret-2"), IsGrpcOk());
  Write("tokens", "cert:sre.example.org sre operator\n");
  Reload(*credentials_);
  EXPECT_EQ(List(Tls(authority_), "secret-2").error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(IdentityTest, FilesThatDoNotFitAreRefusedAtTheStart) {
  const IssuedCertificate issued = authority_.Issue("migrationd", "DNS:localhost");
  const auto refused = [&](const std::string& certificate, const std::string& key, const std::string& why) {
    Write("tls.crt", certificate);
    Write("tls.key", key);
    EXPECT_THAT(ServerCertificates::Open({Path("tls.crt"), Path("tls.key"), ""}).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  refused("", issued.key, "no certificate");
  refused(issued.certificate, "", "no private key");
  refused(issued.certificate, authority_.Issue("a", "").key, "not the key");
  const IssuedCertificate over = authority_.Issue("migrationd", "", -absl::Minutes(1));
  refused(over.certificate, over.key, "was valid until");
  EXPECT_THAT(ServerCertificates::Open({Path("absent"), Path("tls.key"), ""}).status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
}

}  // namespace
}  // namespace migrationd
