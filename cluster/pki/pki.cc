#include "cluster/pki/pki.h"

#include <ctime>
#include <utility>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/freed.h"

namespace cluster::pki {
namespace {

using base::ErrorKind;
using base::Freed;
using base::Result;

using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;
using Buffer = std::unique_ptr<BIO, Freed<BIO_free>>;

std::unexpected<base::Error> openssl_error(std::string_view what) {
  char text[256] = "unknown error";
  if (const auto code = ::ERR_get_error(); code != 0) {
    ::ERR_error_string_n(code, static_cast<char*>(text), sizeof(text));
  }
  ::ERR_clear_error();
  return base::fail(ErrorKind::system, "certificates: {}: {}", what, static_cast<char*>(text));
}

Result<Key> make_key() {
  Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("making a key");
  return key;
}

template <typename Write>
Result<std::string> pem_text(std::string_view what, const Write& write) {
  const Buffer buffer(::BIO_new(::BIO_s_mem()));
  if (!buffer || write(buffer.get()) != 1) return openssl_error(what);
  char* text = nullptr;
  const long length = BIO_get_mem_data(buffer.get(), &text);
  return std::string(text, static_cast<std::size_t>(length));
}

Result<std::string> private_pem(EVP_PKEY* key) {
  return pem_text("writing a key", [&](BIO* to) {
    return ::PEM_write_bio_PrivateKey(to, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

Result<KeyPair> pem_of(X509* certificate, EVP_PKEY* key) {
  KeyPair pair;
  ASSIGN_OR_RETURN(pair.certificate, pem_text("writing a certificate", [&](BIO* to) {
                     return ::PEM_write_bio_X509(to, certificate);
                   }));
  ASSIGN_OR_RETURN(pair.key, private_pem(key));
  return pair;
}

Result<> set_serial(X509* certificate) {
  // RFC 5280: unique per issuer, positive, of at most 20 octets.
  unsigned char bytes[16];
  if (::RAND_bytes(static_cast<unsigned char*>(bytes), sizeof(bytes)) != 1) {
    return openssl_error("a serial number");
  }
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);
  const std::unique_ptr<BIGNUM, Freed<BN_free>> number(
      ::BN_bin2bn(static_cast<unsigned char*>(bytes), sizeof(bytes), nullptr));
  if (!number ||
      ::BN_to_ASN1_INTEGER(number.get(), ::X509_get_serialNumber(certificate)) == nullptr) {
    return openssl_error("a serial number");
  }
  return {};
}

Result<> add_name(X509_NAME* name, const char* field, const std::string& value) {
  if (value.empty()) return {};
  if (::X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(value.data()),
                                   static_cast<int>(value.size()), -1, 0) != 1) {
    return openssl_error("a subject");
  }
  return {};
}

// `issuer` may be the certificate itself.
Result<> add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  ::X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(::X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  if (!extension || ::X509_add_ext(certificate, extension.get(), -1) != 1) {
    return openssl_error("an extension");
  }
  return {};
}

Result<Certificate> make_certificate(EVP_PKEY* key, const std::string& common_name,
                                     const std::string& organisation, const Validity& validity) {
  Certificate certificate(::X509_new());
  if (!certificate || ::X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      ::X509_set_pubkey(certificate.get(), key) != 1 ||
      ::X509_gmtime_adj(X509_getm_notBefore(certificate.get()), validity.from.count()) == nullptr ||
      ::X509_gmtime_adj(X509_getm_notAfter(certificate.get()), validity.until.count()) == nullptr) {
    return openssl_error("a certificate");
  }
  RETURN_IF_ERROR(set_serial(certificate.get()));
  X509_NAME* subject = ::X509_get_subject_name(certificate.get());
  RETURN_IF_ERROR(add_name(subject, "O", organisation));
  RETURN_IF_ERROR(add_name(subject, "CN", common_name));
  return certificate;
}

Result<> sign(X509* certificate, EVP_PKEY* key) {
  if (::X509_sign(certificate, key, ::EVP_sha256()) == 0) return openssl_error("signing");
  return {};
}

std::string alternative_names(const Subject& subject) {
  std::vector<std::string> names;
  for (const auto& name : subject.dns_names) names.push_back("DNS:" + name);
  for (const auto& address : subject.addresses) names.push_back("IP:" + address);
  for (const auto& uri : subject.uris) names.push_back("URI:" + uri);
  if (names.empty()) return {};
  const bool nameless = subject.common_name.empty() && subject.organisation.empty();
  return fmt::format("{}{}", nameless ? "critical," : "", fmt::join(names, ","));
}

std::string_view usage_of(Purpose purpose) {
  switch (purpose) {
    case Purpose::client:
      return "clientAuth";
    case Purpose::server:
      return "serverAuth";
    case Purpose::both:
      return "serverAuth,clientAuth";
  }
  return "";
}

}  // namespace

struct Authority::Handles {
  Certificate certificate;
  Key key;
};

Authority::Authority(std::unique_ptr<Handles> handles) : handles_(std::move(handles)) {}
Authority::Authority(Authority&&) noexcept = default;
Authority::~Authority() = default;

Result<Authority> Authority::create(const std::string& common_name) {
  ASSIGN_OR_RETURN(Key key, make_key());
  ASSIGN_OR_RETURN(Certificate certificate,
                   make_certificate(key.get(), common_name, "", Validity{}));
  X509* self = certificate.get();
  if (::X509_set_issuer_name(self, ::X509_get_subject_name(self)) != 1) {
    return openssl_error("an issuer");
  }
  RETURN_IF_ERROR(add_extension(self, self, NID_basic_constraints, "critical,CA:TRUE"));
  RETURN_IF_ERROR(
      add_extension(self, self, NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(add_extension(self, self, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(sign(self, key.get()));
  ASSIGN_OR_RETURN(auto own, pem_of(self, key.get()));
  Authority authority(std::make_unique<Handles>(Handles{std::move(certificate), std::move(key)}));
  authority.own_ = std::move(own);
  return authority;
}

Result<Authority> Authority::of(KeyPair own) {
  const auto buffer_of = [](const std::string& text) {
    return Buffer(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  };
  const auto certificate_text = buffer_of(own.certificate);
  const auto key_text = buffer_of(own.key);
  Certificate certificate(::PEM_read_bio_X509(certificate_text.get(), nullptr, nullptr, nullptr));
  Key key(::PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  if (!certificate || !key || ::X509_check_private_key(certificate.get(), key.get()) != 1) {
    return openssl_error("reading an authority");
  }
  Authority authority(std::make_unique<Handles>(Handles{std::move(certificate), std::move(key)}));
  authority.own_ = std::move(own);
  return authority;
}

Result<KeyPair> Authority::issue(const Subject& subject) const {
  ASSIGN_OR_RETURN(const Key key, make_key());
  ASSIGN_OR_RETURN(
      const Certificate certificate,
      make_certificate(key.get(), subject.common_name, subject.organisation, subject.validity));
  X509* own = certificate.get();
  X509* issuer = handles_->certificate.get();
  if (::X509_set_issuer_name(own, ::X509_get_subject_name(issuer)) != 1) {
    return openssl_error("an issuer");
  }
  RETURN_IF_ERROR(add_extension(own, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  RETURN_IF_ERROR(add_extension(own, issuer, NID_key_usage, "critical,digitalSignature"));
  RETURN_IF_ERROR(
      add_extension(own, issuer, NID_ext_key_usage, std::string(usage_of(subject.purpose))));
  RETURN_IF_ERROR(add_extension(own, issuer, NID_authority_key_identifier, "keyid"));
  if (const auto names = alternative_names(subject); !names.empty()) {
    RETURN_IF_ERROR(add_extension(own, issuer, NID_subject_alt_name, names));
  }
  RETURN_IF_ERROR(sign(own, handles_->key.get()));
  return pem_of(own, key.get());
}

Result<CertificateFacts> facts_of(const std::string& pem) {
  const Buffer text(::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Certificate certificate(::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
  std::tm until{};
  if (!certificate || ::ASN1_TIME_to_tm(::X509_get0_notAfter(certificate.get()), &until) != 1) {
    auto error = openssl_error("reading one").error();
    error.kind = ErrorKind::input;
    return std::unexpected(std::move(error));
  }
  CertificateFacts facts{.serial = {}, .not_after_s = static_cast<std::int64_t>(::timegm(&until))};
  const std::unique_ptr<BIGNUM, Freed<BN_free>> number(
      ::ASN1_INTEGER_to_BN(::X509_get0_serialNumber(certificate.get()), nullptr));
  if (char* const digits = number ? ::BN_bn2hex(number.get()) : nullptr; digits != nullptr) {
    facts.serial = digits;
    OPENSSL_free(digits);
  }
  return facts;
}

Result<SigningKey> make_signing_key() {
  ASSIGN_OR_RETURN(const Key key, make_key());
  SigningKey pair;
  ASSIGN_OR_RETURN(pair.private_key, private_pem(key.get()));
  ASSIGN_OR_RETURN(pair.public_key, pem_text("writing a key", [&](BIO* to) {
                     return ::PEM_write_bio_PUBKEY(to, key.get());
                   }));
  return pair;
}

}  // namespace cluster::pki
