// One mail by nodemailer, with the options of argv[2] (JSON); prints the error as the application would log it.
import nodemailer from 'nodemailer';

const {options, mail} = JSON.parse(process.argv[2]);
try {
  await nodemailer.createTransport(options).sendMail(mail);
  console.log('sent');
} catch (e) {
  console.log(`${e.code} ${e.command ?? ''} ${e.message}`);
}
