#include "smtp/mime_type.h"

#include "smtp/bytes.h"

#include <string.h>
#include <strings.h>

/* The table of file name extensions. */

static const struct {
    const char *extension, *type;
} types[] = {
    {"3gp", "video/3gpp"}, {"7z", "application/x-7z-compressed"}, {"aac", "audio/aac"},
    {"ai", "application/postscript"}, {"apk", "application/vnd.android.package-archive"}, {"apng", "image/apng"},
    {"asc", "application/pgp-keys"}, {"avi", "video/x-msvideo"}, {"avif", "image/avif"},
    {"azw", "application/vnd.amazon.ebook"}, {"bmp", "image/bmp"}, {"bz2", "application/x-bzip2"},
    {"css", "text/css"}, {"csv", "text/csv"}, {"deb", "application/vnd.debian.binary-package"},
    {"doc", "application/msword"}, {"docm", "application/vnd.ms-word.document.macroEnabled.12"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"dotx", "application/vnd.openxmlformats-officedocument.wordprocessingml.template"}, {"dwg", "image/vnd.dwg"},
    {"emf", "image/emf"}, {"eml", "message/rfc822"}, {"eps", "application/postscript"},
    {"epub", "application/epub+zip"}, {"flac", "audio/flac"}, {"geojson", "application/geo+json"},
    {"gif", "image/gif"}, {"gpx", "application/gpx+xml"}, {"gz", "application/gzip"}, {"heic", "image/heic"},
    {"heif", "image/heif"}, {"htm", "text/html"}, {"html", "text/html"}, {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar"}, {"ini", "text/plain"}, {"jar", "application/java-archive"}, {"jfif", "image/jpeg"},
    {"jpe", "image/jpeg"}, {"jpeg", "image/jpeg"}, {"jpg", "image/jpeg"}, {"js", "text/javascript"},
    {"json", "application/json"}, {"jsonl", "application/jsonl"}, {"jxl", "image/jxl"},
    {"key", "application/vnd.apple.keynote"}, {"kml", "application/vnd.google-earth.kml+xml"}, {"log", "text/plain"},
    {"m4a", "audio/mp4"}, {"m4v", "video/x-m4v"}, {"markdown", "text/markdown"}, {"md", "text/markdown"},
    {"mid", "audio/midi"}, {"mjs", "text/javascript"}, {"mkv", "video/x-matroska"},
    {"mobi", "application/x-mobipocket-ebook"}, {"mov", "video/quicktime"}, {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"}, {"mpeg", "video/mpeg"}, {"mpg", "video/mpeg"}, {"msg", "application/vnd.ms-outlook"},
    {"numbers", "application/vnd.apple.numbers"}, {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"}, {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"}, {"ogg", "audio/ogg"}, {"ogv", "video/ogg"}, {"opus", "audio/ogg"}, {"otf", "font/otf"},
    {"p7c", "application/pkcs7-mime"}, {"p7m", "application/pkcs7-mime"}, {"p7s", "application/pkcs7-signature"},
    {"pages", "application/vnd.apple.pages"}, {"pdf", "application/pdf"}, {"pem", "application/x-pem-file"},
    {"pkpass", "application/vnd.apple.pkpass"}, {"png", "image/png"},
    {"potx", "application/vnd.openxmlformats-officedocument.presentationml.template"},
    {"pps", "application/vnd.ms-powerpoint"},
    {"ppsx", "application/vnd.openxmlformats-officedocument.presentationml.slideshow"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"ps", "application/postscript"}, {"psd", "image/vnd.adobe.photoshop"}, {"rar", "application/vnd.rar"},
    {"rtf", "application/rtf"}, {"sql", "application/sql"}, {"svg", "image/svg+xml"}, {"tar", "application/x-tar"},
    {"tgz", "application/gzip"}, {"tif", "image/tiff"}, {"tiff", "image/tiff"}, {"toml", "application/toml"},
    {"tsv", "text/tab-separated-values"}, {"ttf", "font/ttf"}, {"txt", "text/plain"}, {"vcf", "text/vcard"},
    {"vsdx", "application/vnd.ms-visio.drawing.main+xml"}, {"wasm", "application/wasm"}, {"wav", "audio/wav"},
    {"weba", "audio/webm"}, {"webm", "video/webm"}, {"webp", "image/webp"}, {"wma", "audio/x-ms-wma"},
    {"wmf", "image/wmf"}, {"wmv", "video/x-ms-wmv"}, {"woff", "font/woff"}, {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"}, {"xls", "application/vnd.ms-excel"},
    {"xlsb", "application/vnd.ms-excel.sheet.binary.macroEnabled.12"},
    {"xlsm", "application/vnd.ms-excel.sheet.macroEnabled.12"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xltx", "application/vnd.openxmlformats-officedocument.spreadsheetml.template"}, {"xml", "application/xml"},
    {"xz", "application/x-xz"}, {"yaml", "application/yaml"}, {"yml", "application/yaml"}, {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

const char *mime_type_of(const char *filename)
{
    const char *dot = filename ? strrchr(filename, '.') : NULL;

    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++)
        if (strcasecmp(dot + 1, types[i].extension) == 0)
            return types[i].type;
    return "application/octet-stream";
}
