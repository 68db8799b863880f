#include "api/form.h"
#include "smtp/block.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Forms whole, byte by byte and cut at every place: what is in them, and why they are refused. */

#define B "multipart/form-data; boundary=b"
#define U "application/x-www-form-urlencoded"
#define CD "Content-Disposition: form-data; "
/* One part named n with these octets, and with these header fields besides. */
#define DATA(data) "--b\r\n" CD "name=n\r\n\r\n" data "\r\n--b--\r\n"
#define HEAD(lines) "--b\r\n" lines "\r\n\r\nd\r\n--b--\r\n"
#define PARAMS(params) HEAD(CD params)
#define BODY(s) (s), sizeof(s) - 1
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN
#define BLANKS "                                                                "

/* `want`: each part as "name|filename|content_type|data" and a line feed ("-" for NULL, NUL as "{0}"), then "!" and the
 * error, if it is one. */
struct form_case {
    const char *type, *body;
    size_t n;
    const char *want;
};

static const struct form_case good[] = {
    {B, BODY(DATA("d")), "n|-|-|d\n"},
    {B, BODY(DATA("")), "n|-|-|\n"},
    {B, BODY("--b--"), ""},
    {B, BODY("--b--\r\n"), ""},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\n--b--"), "n|-|-|\n"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\n--b\r\n" CD "name=m\r\n\r\n\r\n--b--"), "n|-|-|\nm|-|-|\n"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b--"), "n|-|-|d\n"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b-- \t "), "n|-|-|d\n"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b-- \t\r\nepilogue\n--b\r\n"), "n|-|-|d\n"},
    {B, BODY("pre\r\n--bX\r\namble\n--b\r\n\r\n" DATA("d")), "n|-|-|d\n"},
    {B, BODY("\r\n" DATA("d")), "n|-|-|d\n"},
    {B, BODY("--b \t\r\n" CD "name=n\r\n\r\nd\r\n--b  \r\n" CD "name=m\r\n\r\ne\r\n--b--"), "n|-|-|d\nm|-|-|e\n"},
    {B, BODY("--b" BLANKS "\r\n" CD "name=n\r\n\r\nd\r\n--b--" BLANKS "\r\n"), "n|-|-|d\n"},
    /* what only looks like a delimiter */
    {B, BODY(DATA("\r\n--bX")), "n|-|-|\r\n--bX\n"},
    {B, BODY(DATA("\r\n--b-\r\n--b-x\r\n--b--x\r\n--b-- x")), "n|-|-|\r\n--b-\r\n--b-x\r\n--b--x\r\n--b-- x\n"},
    {B, BODY(DATA("\r\n--b \tx\r\n--b\rx\r\n--b \r\r\n")), "n|-|-|\r\n--b \tx\r\n--b\rx\r\n--b \r\r\n\n"},
    {B, BODY(DATA("\r\n--b\r\r\n--b--\r")), "n|-|-|\r\n--b\r\r\n--b--\r\n"},
    {B, BODY(DATA("\r\r\n\r\n\r\n-\r\n--\r\n--c\r\n-\r--b\r\n--")),
     "n|-|-|\r\r\n\r\n\r\n-\r\n--\r\n--c\r\n-\r--b\r\n--\n"},
    {B, BODY(DATA("\n--b--\n--b\r\nx--b--\r\n")), "n|-|-|\n--b--\n--b\r\nx--b--\r\n\n"},
    {B, BODY(DATA("--bX")), "n|-|-|--bX\n"},
    {B, BODY(DATA("--b-")), "n|-|-|--b-\n"},
    {B, BODY(DATA("--b--x")), "n|-|-|--b--x\n"},
    {B, BODY(DATA("--b \r--b \r")), "n|-|-|--b \r--b \r\n"},
    {B, BODY(DATA("\r")), "n|-|-|\r\n"},
    {B, BODY(DATA("\r\r\r\n\r\n")), "n|-|-|\r\r\r\n\r\n\n"},
    {B, BODY(DATA("\0a\0\xff\x01\n")), "n|-|-|{0}a{0}\xff\x01\n\n"},
    {"multipart/form-data; boundary=--", BODY("----\r\n" CD "name=n\r\n\r\n\r\n---\r\n----x\r\n------\r\n"),
     "n|-|-|\r\n---\r\n----x\n"},
    /* the boundary */
    {"multipart/form-data;boundary=\"b\"", BODY(DATA("d")), "n|-|-|d\n"},
    {"Multipart/Form-Data ; BOUNDARY=\"b\" ; charset=utf-8", BODY(DATA("d")), "n|-|-|d\n"},
    {" multipart/form-data; charset=utf-8; boundary=b;; ", BODY(DATA("d")), "n|-|-|d\n"},
    {"multipart/form-data; x=\"; boundary=c\"; boundary=b", BODY(DATA("d")), "n|-|-|d\n"},
    {"multipart/form-data; boundary=\"a b/c\"", BODY("--a b/c\r\n" CD "name=n\r\n\r\nd\r\n--a b/c--"), "n|-|-|d\n"},
    {"multipart/form-data; boundary=----=_Part_0.1", BODY("------=_Part_0.1\r\n" CD "name=n\r\n\r\nd\r\n"
     "------=_Part_0.1--\r\n"), "n|-|-|d\n"},
    {"multipart/form-data; boundary=" SIXTY TEN, BODY("--" SIXTY TEN "\r\n" CD "name=n\r\n\r\nd\r\n--" SIXTY TEN "--"),
     "n|-|-|d\n"},
    /* heads */
    {B, BODY(PARAMS("name=\"a b\"")), "a b|-|-|d\n"},
    {B, BODY(PARAMS("NAME=n ; size=4;")), "n|-|-|d\n"},
    {B, BODY(PARAMS("filename=f.txt; name=n")), "n|f.txt|-|d\n"},
    {B, BODY(PARAMS("name=\"a%22b%0D%0A%41\"; filename=\"%22.txt\"")), "a\"b%0D%0A%41|\".txt|-|d\n"},
    {B, BODY(PARAMS("name=\"a\\\"b\"; filename=\"x\\\\\\\"y\"")), "a\"b|\"y|-|d\n"},
    {B, BODY(PARAMS("name=n; filename=%22")), "n|%22|-|d\n"},
    {B, BODY(PARAMS("name=\"n;filename=x\"")), "n;filename=x|-|-|d\n"},
    {B, BODY(PARAMS("name=\"\xc3\xa9\"; filename=\"\xe2\x82\xac.pdf\"")), "\xc3\xa9|\xe2\x82\xac.pdf|-|d\n"},
    {B, BODY(PARAMS("name=n; filename=\"C:\\new\\a.txt\"")), "n|a.txt|-|d\n"},
    {B, BODY(PARAMS("name=n; filename=\"/etc/..\\b/a\"")), "n|a|-|d\n"},
    {B, BODY(PARAMS("name=n; filename=\"a/b\\c\"")), "n|c|-|d\n"},
    {B, BODY(PARAMS("name=n; filename*=UTF-8'en'%e2%82%AC%20a.txt; filename=x")), "n|\xe2\x82\xac a.txt|-|d\n"},
    {B, BODY(PARAMS("name=n; filename=x; filename*=utf-8''..%2Fa")), "n|a|-|d\n"},
    {B, BODY("--b\r\n" CD "name=n; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n"),
     "n||application/octet-stream|\n"},
    {B, BODY(HEAD("content-type:  text/plain; charset=\"a b\" \r\nX-Other: x\r\nCONTENT-DISPOSITION:form-data;name=n")),
     "n|-|text/plain; charset=\"a b\"|d\n"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Transfer-Encoding: 8BIT\r\nContent-Type:")), "n|-||d\n"},
    {B, BODY(HEAD(CD "name=n; filename=f\r\nContent-Type: multipart/mixed")), "n|f|multipart/mixed|d\n"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Transfer-Encoding: binary")), "n|-|-|d\n"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Transfer-Encoding: 7bit")), "n|-|-|d\n"},
    /* urlencoded */
    {U, BODY(""), ""},
    {U, BODY("&&"), ""},
    {U, BODY("a=1"), "a|-|-|1\n"},
    {U, BODY("a=1&&b=2&"), "a|-|-|1\nb|-|-|2\n"},
    {U, BODY("&a&b=&a=x"), "a|-|-|\nb|-|-|\na|-|-|x\n"},
    {U "; charset=utf-8", BODY("a+b=c+d%2Be%26%3d%C3%A9"), "a b|-|-|c d+e&=\xc3\xa9\n"},
    {"Application/X-WWW-Form-URLencoded;", BODY("%61%3D=a=b==\r\n;\xff"), "a=|-|-|a=b==\r\n;\xff\n"},
    {U, BODY("a=%00x\0y"), "a|-|-|{0}x{0}y\n"},
};

static const struct form_case bad[] = {
    /* the Content-Type */
    {"", BODY(DATA("d")), "!\"\" is not the type of a form"},
    {"multipart/mixed; boundary=b", BODY(DATA("d")), "!\"multipart/mixed; boundary=b\" is not the type of a form"},
    {"multipart/form-datax; boundary=b", BODY(DATA("d")),
     "!\"multipart/form-datax; boundary=b\" is not the type of a form"},
    {"application/x-www-form-urlencoded2", BODY("a=b"),
     "!\"application/x-www-form-urlencoded2\" is not the type of a form"},
    {U "/x", BODY("a=b"), "!\"application/x-www-form-urlencoded/x\" is not the type of a form"},
    {"multipart/form-data", BODY(DATA("d")), "!the Content-Type has no boundary"},
    {"multipart/form-data; charset=utf-8;", BODY(DATA("d")), "!the Content-Type has no boundary"},
    {"multipart/form-data, boundary=b", BODY(DATA("d")), "!in the Content-Type, a parameter does not begin with \";\""},
    {"multipart/form-data; boundary", BODY(DATA("d")), "!in the Content-Type, a parameter is not name=value"},
    {"multipart/form-data; boundary = b", BODY(DATA("d")), "!in the Content-Type, a parameter is not name=value"},
    {"multipart/form-data; =b", BODY(DATA("d")), "!in the Content-Type, a parameter is not name=value"},
    {"multipart/form-data; boundary=", BODY(DATA("d")), "!in the Content-Type, a parameter has no value"},
    {"multipart/form-data; boundary= ;x=y", BODY(DATA("d")), "!in the Content-Type, a parameter has no value"},
    {"multipart/form-data; boundary=\"\"", BODY(DATA("d")), "!the Content-Type's boundary is empty"},
    {"multipart/form-data; boundary=\"b", BODY(DATA("d")), "!in the Content-Type, a quoted value has no end"},
    {"multipart/form-data; boundary=\"b\\\"", BODY(DATA("d")), "!in the Content-Type, a quoted value has no end"},
    {"multipart/form-data; boundary=\"b\"c", BODY(DATA("d")),
     "!in the Content-Type, a parameter does not begin with \";\""},
    {"multipart/form-data; boundary=b c", BODY(DATA("d")),
     "!in the Content-Type, a parameter does not begin with \";\""},
    {"multipart/form-data; boundary=\"b \"", BODY(DATA("d")),
     "!the Content-Type's boundary has characters that may not stand in one or at its end"},
    {"multipart/form-data; boundary=\"a\\\"b\"", BODY(DATA("d")),
     "!the Content-Type's boundary has characters that may not stand in one or at its end"},
    {"multipart/form-data; boundary=a*b", BODY(DATA("d")),
     "!the Content-Type's boundary has characters that may not stand in one or at its end"},
    {"multipart/form-data; boundary=\"\xc3\xa9\"", BODY(DATA("d")),
     "!the Content-Type's boundary has characters that may not stand in one or at its end"},
    {"multipart/form-data; boundary=" SIXTY TEN "1", BODY(DATA("d")),
     "!the Content-Type's boundary is longer than 70 characters"},
    {"multipart/form-data; boundary=b; Boundary=b", BODY(DATA("d")), "!the Content-Type has two boundaries"},
    /* forms that are not whole */
    {B, BODY(""), "!the form ends before its first boundary"},
    {B, BODY("--"), "!the form ends before its first boundary"},
    {B, BODY("--b"), "!the form ends before its first boundary"},
    {B, BODY("--b-"), "!the form ends before its first boundary"},
    {B, BODY("--b--\r"), "!the form ends before its first boundary"},
    {B, BODY("--c--\r\nx--b--\r\n"), "!the form ends before its first boundary"},
    {B, BODY("--b\r\n"), "!part 1: the form ends in the middle of its head"},
    {B, BODY("--b\r\n" CD "name=n"), "!part 1: the form ends in the middle of its head"},
    {B, BODY("--b\r\n" CD "name=n\r\n"), "!part 1: the form ends in the middle of its head"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r"), "!part 1: the form ends in the middle of its head"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\n"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b-"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b--\r"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b--x\r\n"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b\r"),
     "!part 1: the form ends in the middle of its data: no closing boundary"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b\r\n"), "n|-|-|d\n!part 2: the form ends in the middle of its head"},
    /* lines that do not end with CRLF */
    {B, BODY("--b\n" CD "name=n\n\nd\n--b--\n"),
     "!the line of boundary 1 ends with a bare line feed; lines end with CRLF"},
    {B, BODY("--b \n"), "!the line of boundary 1 ends with a bare line feed; lines end with CRLF"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b\n"),
     "!the line of boundary 2 ends with a bare line feed; lines end with CRLF"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n--b--\n"),
     "!the line of boundary 2 ends with a bare line feed; lines end with CRLF"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\n--b--\r\n"),
     "!part 1: the line before a boundary ends with a bare line feed; lines end with CRLF"},
    {B, BODY("--b\r\n" CD "name=n\n\r\nd\r\n--b--\r\n"),
     "!part 1: its head has a bare line feed; lines end with CRLF"},
    {B, BODY("--b\r\n" CD "name=n\r\n\nd\r\n--b--\r\n"),
     "!part 1: its head has a bare line feed; lines end with CRLF"},
    {B, BODY("--b\r\n" CD "name=n\r\r\n\r\nd\r\n--b--\r\n"),
     "!part 1: its head has a bare carriage return; lines end with CRLF"},
    {B, BODY("--b" BLANKS " \r\n"), "!the line of boundary 1 has too many blanks at its end"},
    {B, BODY(DATA("d\r\n--b--" BLANKS "\t\r\n")), "!the line of boundary 2 has too many blanks at its end"},
    /* heads */
    {B, BODY("--b\r\n\r\nd\r\n--b--"), "!part 1: it has no Content-Disposition"},
    {B, BODY("--b\r\n--b--\r\n\r\n"), "!part 1: \"--b--\" is not a header field"},
    {B, BODY(HEAD("Content-Type: text/plain")), "!part 1: it has no Content-Disposition"},
    {B, BODY(HEAD("Content-Disposition:")), "!part 1: its Content-Disposition is \"\" instead of form-data"},
    {B, BODY(HEAD("Content-Disposition: attachment; name=n")),
     "!part 1: its Content-Disposition is \"attachment; name=n\" instead of form-data"},
    {B, BODY(HEAD("Content-Disposition: form-data")), "!part 1: it has no name"},
    {B, BODY(PARAMS("filename=f")), "!part 1: it has no name"},
    {B, BODY(PARAMS("name=\"\"")), "!part 1: it has no name"},
    {B, BODY(PARAMS("name=")), "!part 1: in its Content-Disposition, a parameter has no value"},
    {B, BODY(PARAMS("name")), "!part 1: in its Content-Disposition, a parameter is not name=value"},
    {B, BODY(PARAMS("name=a b")), "!part 1: in its Content-Disposition, a parameter does not begin with \";\""},
    {B, BODY(PARAMS("name=a/b")), "!part 1: in its Content-Disposition, a parameter does not begin with \";\""},
    {B, BODY(PARAMS("name=\"a")), "!part 1: in its Content-Disposition, a quoted value has no end"},
    {B, BODY(PARAMS("name=\"a\\\"")), "!part 1: in its Content-Disposition, a quoted value has no end"},
    {B, BODY(PARAMS("name=n; Name=n")), "!part 1: its Content-Disposition has Name twice"},
    {B, BODY(PARAMS("name=n; filename=a; filename=a")), "!part 1: its Content-Disposition has filename twice"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''a; filename*=utf-8''a")),
     "!part 1: its Content-Disposition has filename* twice"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''a; x")),
     "!part 1: in its Content-Disposition, a parameter is not name=value"},
    {B, BODY(PARAMS("name=n; filename*0=a")), "!part 1: the parameter filename*0 is not understood"},
    {B, BODY(PARAMS("name*=utf-8''n")), "!part 1: the parameter name* is not understood"},
    {B, BODY(PARAMS("name=n; filename*=iso-8859-1''a")), "!part 1: its filename* does not begin with utf-8''"},
    {B, BODY(PARAMS("name=n; filename*=utf-8'a")), "!part 1: its filename* does not begin with utf-8''"},
    {B, BODY(PARAMS("name=n; filename*=\"utf-8''a\"")), "!part 1: its filename* does not begin with utf-8''"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''a%f")), "!part 1: its filename* is not UTF-8 text in %XX"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''a%gg")), "!part 1: its filename* is not UTF-8 text in %XX"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''%FF")), "!part 1: its filename* is not UTF-8 text in %XX"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''a%00b")), "!part 1: its filename* is not UTF-8 text in %XX"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''a'b")), "!part 1: its filename* is not UTF-8 text in %XX"},
    {B, BODY(PARAMS("name=n; filename=\"a/\"")), "!part 1: its file name is a path without a name"},
    {B, BODY(PARAMS("name=n; filename*=utf-8''%5C")), "!part 1: its file name is a path without a name"},
    {B, BODY(PARAMS("name=\"a\tb\"")), "!part 1: its name has a control character"},
    {B, BODY(PARAMS("name=\"a\0b\"")), "!part 1: its head has a control character"},
    {B, BODY(PARAMS("name=\"a\x7f\"")), "!part 1: its head has a control character"},
    {B, BODY(PARAMS("name=\"\xe9\"")), "!part 1: its head is not UTF-8"},
    {B, BODY(PARAMS("name=\"" SIXTY SIXTY SIXTY SIXTY TEN "1234567\"")), "!part 1: its name is longer than 256 octets"},
    {B, BODY(PARAMS("\r\n name=n")), "!part 1: its head has a folded header field"},
    {B, BODY(HEAD(" " CD "name=n")), "!part 1: its head has a folded header field"},
    {B, BODY(HEAD(CD "name=n\r\n" CD "name=n")), "!part 1: its head has Content-Disposition twice"},
    {B, BODY(HEAD(CD "name=n\r\nX-A: 1\r\nx-a: 1")), "!part 1: its head has x-a twice"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Type : a/b")), "!part 1: \"Content-Type : a/b\" is not a header field"},
    {B, BODY(HEAD(CD "name=n\r\n: x")), "!part 1: \": x\" is not a header field"},
    {B, BODY(HEAD("a field\xc3\xa9 that has no colon and is rather long\r\n" CD "name=n")),
     "!part 1: \"a field?? that has no colon and is rathe...\" is not a header field"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Transfer-Encoding: base64")),
     "!part 1: its Content-Transfer-Encoding is \"base64\"; forms are sent without one"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Transfer-Encoding:")),
     "!part 1: its Content-Transfer-Encoding is \"\"; forms are sent without one"},
    {B, BODY(HEAD(CD "name=n\r\nContent-Type: Multipart/mixed; boundary=c")),
     "!part 1: it is a multipart itself; each file is sent as a part of its own"},
    {B, BODY("--b\r\n" CD "name=n\r\n\r\nd\r\n" HEAD("Content-Disposition: inline")),
     "n|-|-|d\n!part 2: its Content-Disposition is \"inline\" instead of form-data"},
    /* urlencoded */
    {U, BODY("a=%"), "!field 1: the form ends in the middle of a %XX"},
    {U, BODY("a=1&b=%4"), "a|-|-|1\n!field 2: the form ends in the middle of a %XX"},
    {U, BODY("a=%4g"), "!field 1: a \"%\" is not followed by two hexadecimal digits"},
    {U, BODY("a=100%&b=c"), "!field 1: a \"%\" is not followed by two hexadecimal digits"},
    {U, BODY("a=%%41"), "!field 1: a \"%\" is not followed by two hexadecimal digits"},
    {U, BODY("%u0041=a"), "!field 1: a \"%\" is not followed by two hexadecimal digits"},
    {U, BODY("a=1&=b"), "a|-|-|1\n!field 2: it has no name"},
    {U, BODY("="), "!field 1: it has no name"},
    {U, BODY("a%00b=c"), "!field 1: its name is not UTF-8, or has a control character"},
    {U, BODY("a\0b"), "!field 1: its name is not UTF-8, or has a control character"},
    {U, BODY("a\r\n=c"), "!field 1: its name is not UTF-8, or has a control character"},
    {U, BODY("%E9=c"), "!field 1: its name is not UTF-8, or has a control character"},
    {U, BODY(SIXTY SIXTY SIXTY SIXTY TEN "123456+=c"), "!field 1: its name is longer than 256 octets"},
};

static void render(const struct form *f, struct bytes_buf *out)
{
    for (size_t i = 0; i < f->n_parts; i++) {
        const struct form_part *p = &f->parts[i];
        bytes_buf_printf(out, "%s|%s|%s|", p->name, p->filename ? p->filename : "-",
                         p->content_type ? p->content_type : "-");
        for (size_t k = 0; k < p->n; k++)
            if (p->data[k])
                bytes_buf_add_char(out, p->data[k]);
            else
                bytes_buf_add_str(out, "{0}");
        bytes_buf_add_char(out, '\n');
        if (p->data[p->n])
            ck_abort_msg("data are not terminated");
    }
    if (f->error[0])
        bytes_buf_printf(out, "!%s", f->error);
}

/* Each piece is a block of its own, so that a sanitizer sees a step out of it. */
static int feed(struct form *f, const char *p, size_t n)
{
    char *piece = malloc(n ? n : 1);
    int rc;

    if (!piece)                         /* an assertion that holds costs a write; these are many */
        ck_abort();
    memcpy(piece, p, n);
    rc = form_feed(f, bytes_view(piece, n));
    free(piece);
    return rc;
}

/* The first piece ends at `cut`, the following ones have `piece` octets. */
static void check(const struct form_case *c, size_t cut, size_t piece)
{
    struct form *f = form_new(c->type);
    struct bytes_buf got;
    int rc;

    if (!f)
        ck_abort();
    rc = feed(f, c->body, cut);
    for (size_t i = cut; i < c->n && rc == 0; i += piece)
        rc = feed(f, c->body + i, c->n - i < piece ? c->n - i : piece);
    if (rc == 0)
        rc = form_end(f);
    if (rc != (f->error[0] ? -1 : 0) || (rc != 0 && (form_feed(f, bytes_view("x", 1)) != -1 || form_end(f) != -1)))
        ck_abort_msg("%s [%s]: refused without an error, or taken with one", c->type, c->body);
    bytes_buf_init(&got, 0);
    render(f, &got);
    if (strcmp(got.p ? got.p : "", c->want) != 0)
        ck_abort_msg("%s [%s] cut at %zu, then each %zu:\n%s\ninstead of\n%s", c->type, c->body, cut, piece,
                     got.p ? got.p : "", c->want);
    bytes_buf_deinit(&got);
    form_free(f);
}

static void check_everywhere(const struct form_case *c)
{
    for (size_t cut = 0; cut <= c->n; cut++)
        check(c, cut, c->n);
    for (size_t piece = 1; piece <= 5; piece++)
        check(c, 0, piece);
}

START_TEST(test_good)
{
    check_everywhere(&good[_i]);
}
END_TEST

START_TEST(test_bad)
{
    ck_assert_ptr_nonnull(strchr(bad[_i].want, '!'));
    check_everywhere(&bad[_i]);
}
END_TEST

/* A form of `n` times the same text between two others, in pieces of 1000 octets; the caller frees it. */
static struct form *read_repeated(const char *type, const char *before, const char *text, size_t n, const char *after)
{
    struct form *f = form_new(type);
    struct bytes_buf b;
    int rc = 0;

    ck_assert_ptr_nonnull(f);
    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, before);
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_str(&b, text);
    bytes_buf_add_str(&b, after);
    ck_assert(!b.failed);
    for (size_t i = 0; i < b.n && rc == 0; i += 1000)
        rc = feed(f, b.p + i, b.n - i < 1000 ? b.n - i : 1000);
    if (rc == 0)
        rc = form_end(f);
    ck_assert_int_eq(rc, f->error[0] ? -1 : 0);
    bytes_buf_deinit(&b);
    return f;
}

/* Each at its limit, and one past it. */
static const struct {
    const char *type, *before, *text;
    size_t max;
    const char *after, *error;
} limits[] = {
    {B, "", "--b\r\n" CD "name=n\r\n\r\nd\r\n", FORM_PARTS_MAX, "--b--\r\n", "more than 2000 parts"},
    {U, "", "&a=", FORM_PARTS_MAX, "", "more than 2000 parts"},
    {U, "", "a", FORM_NAME_MAX, "=", "field 1: its name is longer than 256 octets"},
    {B, "--b\r\n" CD "name=\"", "a", FORM_NAME_MAX, "\"\r\n\r\n\r\n--b--",
     "part 1: its name is longer than 256 octets"},
    {B, "--b\r\n" CD "name=n\r\nX: ", "a", FORM_HEAD_MAX - sizeof(CD "name=n\r\nX: \r\n\r\n") + 1, "\r\n\r\n\r\n--b--",
     "part 1: its head is longer than 16384 octets"},
    {B, "", "x", FORM_MARGIN_MAX, "\r\n--b--", "more than 65536 octets stand before the first boundary"},
    {B, "--b--\r\n", "x", FORM_MARGIN_MAX, "", "more than 65536 octets stand behind the last boundary"},
};

START_TEST(test_limits)
{
    struct form *f = read_repeated(limits[_i].type, limits[_i].before, limits[_i].text, limits[_i].max,
                                   limits[_i].after);

    ck_assert_str_eq(f->error, "");
    form_free(f);
    f = read_repeated(limits[_i].type, limits[_i].before, limits[_i].text, limits[_i].max + 1, limits[_i].after);
    ck_assert_str_eq(f->error, limits[_i].error);
    form_free(f);
}
END_TEST

START_TEST(test_fields_limit)
{
    for (size_t n = FORM_FIELDS_MAX; n <= FORM_FIELDS_MAX + 1; n++) {
        struct bytes_buf b;
        struct form *f = form_new(B);
        ck_assert_ptr_nonnull(f);
        bytes_buf_init(&b, 0);
        bytes_buf_add_str(&b, "--b\r\n" CD "name=n\r\n");
        for (size_t i = 1; i < n; i++)
            bytes_buf_printf(&b, "X-%zu: x\r\n", i);
        bytes_buf_add_str(&b, "\r\n\r\n--b--");
        ck_assert_int_eq(form_feed(f, bytes_buf_view(&b)), n == FORM_FIELDS_MAX ? 0 : -1);
        ck_assert_str_eq(f->error, n == FORM_FIELDS_MAX ? "" : "part 1: its head has more than 32 header fields");
        bytes_buf_deinit(&b);
        form_free(f);
    }
}
END_TEST

static const char *const adverse[] = {
    "\r", "\r\n", "\r\n--", "\r\n--b\r", "\r\n--bX", "\r\n--b \r", "\r\n--b--\r", "\n--b",
};

/* Data that make a reader keep back much, again and again: they arrive whole, and it takes no time. */
START_TEST(test_adverse_data)
{
    const size_t n = 400000;
    const char *text = adverse[_i];
    struct form *f = read_repeated(B, "--b\r\n" CD "name=n\r\n\r\n", text, n, "\r\n--b--\r\n");
    size_t k = strlen(text), wrong = 0;

    ck_assert_str_eq(f->error, "");
    ck_assert_uint_eq(f->n_parts, 1);
    ck_assert_uint_eq(f->parts[0].n, n * k);
    for (size_t i = 0; i < n; i++)
        wrong += memcmp(f->parts[0].data + i * k, text, k) != 0;
    ck_assert_uint_eq(wrong, 0);
    form_free(f);
}
END_TEST

START_TEST(test_held)
{
    static char block[100000];
    struct form *f = form_new(B);
    size_t whole;
    char *data;

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_lt(form_held(f), 1000);
    ck_assert_int_eq(form_feed(f, bytes_view_str("--b\r\n" CD "name=n\r\n\r\n")), 0);
    for (size_t i = 1; i <= 10; i++) {
        ck_assert_int_eq(form_feed(f, bytes_view(block, sizeof(block))), 0);
        ck_assert_uint_ge(form_held(f), i * sizeof(block));
        ck_assert_uint_lt(form_held(f), 2 * i * sizeof(block) + 100000);
    }
    ck_assert_int_eq(form_feed(f, bytes_view_str("\r\n--b--")), 0);
    ck_assert_int_eq(form_end(f), 0);
    whole = form_held(f);               /* shrunk to what it is */
    ck_assert_uint_ge(whole, 10 * sizeof(block));
    ck_assert_uint_lt(whole, 10 * sizeof(block) + 2000);
    data = form_take_data(&f->parts[0]);
    ck_assert_ptr_nonnull(data);
    ck_assert_ptr_null(f->parts[0].data);
    ck_assert_uint_eq(f->parts[0].n, 0);
    ck_assert_uint_eq(form_held(f), whole);
    form_free(f);
    ck_assert(memcmp(data, block, sizeof(block)) == 0);
    block_free(data);
}
END_TEST

START_TEST(test_no_type)
{
    struct form *f = form_new(NULL);

    ck_assert_ptr_nonnull(f);
    ck_assert_str_eq(f->error, "\"\" is not the type of a form");
    ck_assert_int_eq(form_feed(f, bytes_view_str("a=b")), -1);
    ck_assert_int_eq(form_end(f), -1);
    form_free(f);
    form_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("form");
    TCase *tc = tcase_create("form");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_good, 0, (int)ARRAY_LEN(good));
    tcase_add_loop_test(tc, test_bad, 0, (int)ARRAY_LEN(bad));
    tcase_add_loop_test(tc, test_limits, 0, (int)ARRAY_LEN(limits));
    tcase_add_test(tc, test_fields_limit);
    tcase_add_loop_test(tc, test_adverse_data, 0, (int)ARRAY_LEN(adverse));
    tcase_add_test(tc, test_held);
    tcase_add_test(tc, test_no_type);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
